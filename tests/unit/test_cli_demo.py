"""The figures of the demo, and what it says and does when a step fails."""

import io
import json

import pytest
from rich.console import Console
from tupelo_grid.cli.demo import find_checkout
from tupelo_grid.cli.output import CliError

from loadtest import demo as demo_module
from loadtest import show as show_module
from loadtest.demo import DemoError, last_json
from loadtest.figures import Demo, percentile, result_of, total_of
from loadtest.show import Show

LOAD = [
    {
        "name": "hold",
        "num_requests": 90,
        "num_failures": 0,
        "response_times": {"1": 80, "5": 10},
        "start_time": 100.0,
        "last_request_timestamp": 109.0,
    },
    {
        "name": "buy",
        "num_requests": 10,
        "num_failures": 1,
        "response_times": {"20.0": 10},
        "start_time": 100.0,
        "last_request_timestamp": 110.0,
    },
]
STATUS = {
    "units": [{"id": "unit-1", "entries": 7, "primaries": 256, "backups": 0}],
    "partitions": {"lost": 0},
    "pump": {"lag_records": 0, "dead_letters": 0},
}


def test_totals_are_of_all_operations():
    assert total_of(LOAD) == {
        "operations": 100,
        "failures": 1,
        "ops_s": 10.0,
        "p50_ms": 1.0,
        "p99_ms": 20.0,
    }
    assert total_of([])["operations"] == 0


@pytest.mark.parametrize(("share", "value"), [(0.5, 1.0), (0.8, 1.0), (0.81, 5.0), (1.0, 20.0)])
def test_percentiles_of_a_histogram(share, value):
    assert percentile({1.0: 80, 5.0: 10, 20.0: 10}, share) == value
    assert percentile({}, share) == 0.0


def test_every_kind_of_failure_is_an_error(tmp_path):
    demo = Demo(7400, tmp_path, 1.0, 1, load=LOAD, status=STATUS, check={"mismatches": 2})
    result = result_of(demo)
    assert (result["mismatches"], result["errors"]) == (2, 1)
    demo.status = STATUS | {
        "partitions": {"lost": 3},
        "pump": {"lag_records": 0, "dead_letters": 5},
    }
    assert result_of(demo)["errors"] == 9


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the demo with steps that only pretend; returns its code, words and stops."""
    stops = []

    def go(check, *arguments):
        def steps(demo, show):
            with show.step("the one step"):
                demo.load, demo.status = LOAD[:1], STATUS
                demo.check = check(demo)

        monkeypatch.setattr(demo_module, "ROOT", tmp_path)
        monkeypatch.setattr(demo_module, "run", steps)
        monkeypatch.setattr(demo_module, "stop", lambda demo: stops.append(demo) or "")
        monkeypatch.setattr(demo_module.signal, "signal", lambda *_: None)
        monkeypatch.setattr(show_module, "Console", lambda **_: Console(width=100))
        code = demo_module.main(list(arguments))
        return code, capsys.readouterr().out, stops

    return go


def good(demo):
    return {"mismatches": 0, "rows": 7}


def test_a_good_run_ends_with_its_figures_and_leaves_nothing(run, tmp_path):
    code, said, stops = run(good)
    assert code == 0
    last = json.loads(said.splitlines()[-1])
    assert (last["mismatches"], last["errors"], last["rows"]) == (0, 0, 7)
    assert len(stops) == 1
    assert list((tmp_path / ".tupelo").iterdir()) == []


def test_keep_leaves_the_grid_and_says_how_to_use_and_stop_it(run, monkeypatch):
    monkeypatch.setenv("KEEP", "1")
    code, said, stops = run(good)
    assert (code, stops) == (0, [])
    assert "tupelo down --data-dir" in said
    assert "locust -f" in said
    assert json.loads(said.splitlines()[-1])["mismatches"] == 0


def broken(demo):
    raise DemoError("no store")


def unforeseen(demo):
    return {}["x"]


def interrupted(demo):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("check", "text"),
    [(broken, "no store"), (unforeseen, "KeyError"), (interrupted, "interrupted")],
)
def test_a_failed_step_is_named_and_everything_is_stopped(run, check, text):
    code, said, stops = run(check)
    assert code == 1
    assert text in said
    assert "logs: " in said
    assert len(stops) == 1


def test_mismatches_fail_the_demo(run):
    code, said, stops = run(lambda demo: {"mismatches": 3, "rows": 7})
    assert code == 1
    assert json.loads(said.splitlines()[-1])["mismatches"] == 3
    assert len(stops) == 1


def test_steps_are_lines_in_a_pipe():
    text = io.StringIO()
    show = Show(Console(file=text, width=100))
    with show, show.step("loading") as step:
        step.note("7 rows")
    assert text.getvalue().endswith("loading: 7 rows\n")


def test_the_last_line_is_the_json():
    assert last_json('noise\n{"a": 1}\n') == {"a": 1}
    for text in ("", "noise", "[1]"):
        with pytest.raises((ValueError, IndexError)):
            last_json(text)


def test_the_checkout_is_found_from_below(tmp_path):
    (tmp_path / "loadtest").mkdir()
    (tmp_path / "loadtest" / "demo.py").write_text("")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_checkout(below) == tmp_path
    with pytest.raises(CliError, match="needs the sources"):
        find_checkout(tmp_path.parent / "elsewhere")
