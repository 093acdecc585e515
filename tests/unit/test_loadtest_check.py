"""The comparison of grid and store, and the loading of the flights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tupelo.codec import encode_key

from loadtest import check, load_flights
from loadtest.airline_package import unit as airline
from loadtest.check import Comparison, compare, total_of

NOW_MS = 1_000_000
KEY = encode_key(("UA1096-EWR", 3))


@pytest.mark.parametrize(
    ("entries", "rows", "counts", "sample"),
    [
        ({}, [], {}, ""),
        ({KEY: (b"v", 4)}, [(KEY, b"v", 4, 0)], {}, ""),
        ({KEY: (b"v", 4)}, [], {"missing_rows": 1}, "an entry of version 4, but no row"),
        ({}, [(KEY, b"v", 4, 0)], {"extra_rows": 1}, "a row of version 4, but no entry"),
        ({}, [(KEY, b"v", 4, NOW_MS + 1)], {"extra_rows": 1}, "a row of version 4"),
        ({}, [(KEY, b"v", 4, NOW_MS)], {"expired": 1}, ""),
        ({KEY: (b"v", 5)}, [(KEY, b"v", 4, 0)], {"different": 1}, "version 5 in the grid"),
        ({KEY: (b"w", 4)}, [(KEY, b"v", 4, 0)], {"different": 1}, "another value in the grid"),
        # The same key at another deadline must not hide behind its expiry.
        ({KEY: (b"w", 4)}, [(KEY, b"v", 4, 1)], {"different": 1}, "another value in the grid"),
    ],
)
def test_every_difference_is_counted(
    entries: check.Entries, rows: Sequence[Any], counts: dict[str, int], sample: str
) -> None:
    found = compare("seats", entries, rows, NOW_MS)
    for name in ("missing_rows", "extra_rows", "different", "expired"):
        assert getattr(found, name) == counts.get(name, 0), name
    assert found.mismatches == sum(counts.values()) - found.expired
    assert (found.spaces, found.entries, found.rows) == (1, len(entries), len(rows))
    if sample:
        assert found.samples[0].startswith("seats ('UA1096-EWR', 3): ")
        assert sample in found.samples[0]
    else:
        assert found.samples == []


def test_totals_and_the_bound_on_samples() -> None:
    entries = {encode_key(number): (b"v", 1) for number in range(50)}
    total = total_of(compare(name, entries, [], NOW_MS) for name in ("a", "b"))
    assert total.as_json() == {
        "spaces": 2,
        "entries": 100,
        "rows": 0,
        "expired": 0,
        "missing_rows": 100,
        "extra_rows": 0,
        "different": 0,
        "samples": total.samples,
        "mismatches": 100,
    }
    assert len(total.samples) == check.SAMPLES_MAX


def test_a_store_that_is_not_there_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["--data-dir", str(tmp_path)]) == 2
    assert "there is no store at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mismatches", "code"), [(0, 0), (1, 1)])
def test_the_exit_code_tells(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    mismatches: int,
    code: int,
) -> None:
    async def found(host: str, config: Any) -> Comparison:
        assert host == "h:1"
        return Comparison(rows=5, different=mismatches)

    monkeypatch.setattr(check, "check", found)
    (tmp_path / check.STORE_FILE).touch()
    arguments = ["--host", "h:1", "--data-dir", str(tmp_path)]
    assert check.main([*arguments, "--json"]) == code
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["rows"], result["mismatches"]) == (5, mismatches)
    assert check.main(arguments) == code
    assert f"mismatches: {mismatches}" in capsys.readouterr().out


class FakeSpace:
    def __init__(self) -> None:
        self.calls: list[list[Any]] = []

    async def put_many(self, entries: Any) -> None:
        self.calls.append(list(entries))


class FakeGrid:
    def __init__(self) -> None:
        self.spaces: dict[str, FakeSpace] = {}

    def space(self, space: Any) -> FakeSpace:
        return self.spaces.setdefault(space.name, FakeSpace())


async def test_the_whole_day_is_loaded_in_bounded_parts() -> None:
    grid: Any = FakeGrid()
    seen: list[tuple[str, int, int]] = []
    counts = await load_flights.load(grid, lambda *step: seen.append(step))
    assert counts == {"flights": 1014, "seats": 118_869}
    calls = grid.spaces["seats"].calls
    assert max(map(len, calls)) == load_flights.CHUNK_ENTRIES
    seats = [seat for part in calls for seat in part]
    assert len({(seat.flight, seat.number) for seat in seats}) == len(seats) == 118_869
    assert all(type(seat) is airline.Seat for seat in seats)
    assert seen[0] == ("flights", 1014, 1014)
    assert seen[-1] == ("seats", 118_869, 118_869)
