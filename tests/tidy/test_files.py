"""Every file keeps to the limits and manners of DESIGN's style."""

from __future__ import annotations

import sys

from tests.tidy import rules
from tests.tidy.sources import ROOT, none, text_files, written

# Functions that may wait for a time, and why nothing else will do.
SLEEPERS: dict[str, dict[str, str]] = {
    "tests/pause.py": {
        "pause": "lets faults last as long as they should, and looks again at other processes",
    },
    "tests/e2e/grids.py": {
        "until": "asks other processes again and again; they tell nobody when they get there",
    },
    "tests/e2e/load.py": {
        "_write": "leaves the two cores some time for the units that the load is for",
    },
    "tests/e2e/test_failures.py": {
        "test_control_dies_service_goes_on_and_the_next_one_takes_over": (
            "what it shows is that nothing happens while leases run out"
        ),
    },
    "tests/integration/test_coordinator.py": {
        "run": "is a unit that renews its lease every so often",
    },
    "tests/unit/test_deployment.py": {
        "until": "asks for the state of a child process, which only waitpid tells",
    },
}


def test_sizes() -> None:
    none(problem for source in written() for problem in rules.size(source))


def test_nothing_is_left_for_later() -> None:
    none(
        problem
        for path in text_files()
        for problem in rules.marks(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    )


def test_nothing_is_pickled() -> None:
    none(problem for source in written() for problem in rules.pickles(source))


def test_no_error_is_swallowed() -> None:
    none(problem for source in written() for problem in rules.swallowed(source))


def test_there_are_no_stubs() -> None:
    none(problem for source in written() for problem in rules.stubs(source))


def test_tests_do_not_sleep() -> None:
    none(
        problem
        for source in written("tests", "processing-units")
        for problem in rules.sleeps(source, set(SLEEPERS.get(source.name, {})))
    )


def test_tests_are_not_skipped() -> None:
    none(
        problem
        for source in written("tests", "processing-units")
        for problem in rules.skips(source)
    )


def test_every_test_asserts() -> None:
    tests = written("tests", "processing-units")
    names = rules.asserting_names(tests)
    none(problem for source in tests for problem in rules.without_assert(source, names))


def test_processing_units_import_the_sdk_only() -> None:
    units = [path for path in (ROOT / "processing-units").iterdir() if path.is_dir()]
    for unit in units:
        own = {path.name for path in unit.iterdir() if path.is_dir()}
        for source in written(f"processing-units/{unit.name}"):
            in_tests = "/tests/" in source.name
            extra = {"pytest", "hypothesis"} if in_tests else {"msgspec"}
            none(rules.unit_imports(source, own, sys.stdlib_module_names, extra))
    assert units


def test_sleepers_exist() -> None:
    known = {source.name: source for source in written("tests", "processing-units")}
    none(
        f"{name}:1: no {function} that sleeps: take it off the list in test_files.py"
        for name, allowed in SLEEPERS.items()
        for function in allowed
        if name not in known
        or not any(
            f": {function} sleeps" in problem for problem in rules.sleeps(known[name], set())
        )
    )
