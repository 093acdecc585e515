"""Journal files that were cut, flipped, mixed up, and left behind in the middle of a write."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tupelo_grid.journal_files.folder import (
    SYNCED,
    CorruptJournal,
    Folder,
    FolderError,
    Identity,
)
from tupelo_grid.journal_files.recovery import Recovered, read_synced

from tests.integration.journal_rig import Journal, copy, read


def same(found: Recovered, journal: Journal) -> None:
    assert set(found.partitions) == set(journal.replicas)
    for number, held in journal.replicas.items():
        assert found.partitions[number].digest() == held.digest()
        assert found.partitions[number].journal.last == held.journal.last


def newest(path: Path) -> Path:
    return max(path.glob("*.journal"))


def test_everything_that_was_written_comes_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "one") as journal:
        journal.run(200)
        same(read(copy(tmp_path / "one", tmp_path / "two")), journal)


def test_one_life_follows_another(tmp_path: Path) -> None:
    for life in range(1, 5):
        with Journal(tmp_path) as journal:
            assert journal.replicas[0].journal.last == 30 * (life - 1)
            journal.run(20)
    same(read(tmp_path), journal)


def test_what_a_killed_process_left_unsynced_is_synced_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be acknowledged as safe, and go with the next loss of power."""
    with Journal(tmp_path) as journal:
        journal.run(3, sync=False)
    left = newest(tmp_path).stat().st_ino
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd))[1])
    with Journal(tmp_path) as journal:
        assert left in synced
        assert read_synced(journal.folder) == 3


def test_old_files_go_and_what_stays_is_bounded(tmp_path: Path) -> None:
    sizes = []
    with Journal(tmp_path) as journal:
        for _ in range(16):
            journal.run(50)
            sizes.append(journal.log.segments.total)
        on_disk = sum(path.stat().st_size for path in tmp_path.glob("*.journal"))
        assert on_disk == journal.log.segments.total
    assert max(sizes[5:]) < 2 * max(sizes[:5]), "it grows with what was written"
    same(read(tmp_path), journal)


def test_a_second_process_of_the_unit_is_refused(tmp_path: Path) -> None:
    with Folder(tmp_path), pytest.raises(FolderError, match="another process holds"):
        Folder(tmp_path).__enter__()


def test_a_journal_that_nobody_owns_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.run(1)
    with Folder(tmp_path) as folder:
        with pytest.raises(FolderError, match="nobody knows whose"):
            folder.identity()
        folder.write_identity(Identity("g", "unit-1", ("unit-1#1",)))
        assert folder.identity() == Identity("g", "unit-1", ("unit-1#1",))


def test_what_was_being_written_is_cut_off(tmp_path: Path) -> None:
    """The process died in a write: the mark beside the files is from the batch before."""
    with Journal(tmp_path / "one") as journal:
        journal.run(30)
        told = dict(journal.told)
        mark = (tmp_path / "one" / SYNCED).read_bytes()
        size = newest(tmp_path / "one").stat().st_size
        journal.append(3)
        journal.write()
        file = newest(tmp_path / "one")
        end = file.stat().st_size
    for number, cut in enumerate(range(size + 1, end)):
        torn = copy(tmp_path / "one", tmp_path / f"torn-{number}")
        (torn / SYNCED).write_bytes(mark)
        os.truncate(torn / file.name, cut)
        found = read(torn)
        assert found.cut == cut - size
        assert {n: p.journal.last for n, p in found.partitions.items()} == told
        assert read(torn).cut == 0


def test_a_tail_that_was_on_disk_is_not_taken_for_torn(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.run(30)
    file = newest(tmp_path)
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(CorruptJournal, match=r"was on disk") as caught:
        read(tmp_path)
    assert caught.value.path == file
    assert 0 <= caught.value.offset < file.stat().st_size


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.run(60)
    first, *_, last = sorted(tmp_path.glob("*.journal"))
    for gone in (first, last):
        broken = copy(tmp_path, tmp_path / f"without-{gone.stem}")
        (broken / gone.name).unlink()
        with pytest.raises(CorruptJournal):
            read(broken)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    path = tmp_path_factory.mktemp("journal") / "whole"
    with Journal(path) as journal:
        journal.run(60)
        yield journal


_counter = itertools.count()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_flipped_bit_is_refused_with_its_place_wherever_it_is(
    written: Journal, data: st.DataObject
) -> None:
    """Everything was synced, so nothing may be cut off as if it had not been."""
    damaged = copy(written.path, written.path.parent / f"flip-{next(_counter)}")
    files = sorted(damaged.glob("*.journal"))
    file = files[data.draw(st.integers(0, len(files) - 1))]
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with pytest.raises(CorruptJournal) as caught:
        read(damaged)
    assert caught.value.path == file
    assert caught.value.offset <= place


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_without_the_mark_a_flip_is_refused_or_only_the_last_batch_is_cut(
    written: Journal, data: st.DataObject
) -> None:
    """As after a loss of power, when the mark beside the files may be old: the blocks vouch for
    each other, all but the last."""
    damaged = copy(written.path, written.path.parent / f"blind-{next(_counter)}")
    (damaged / SYNCED).unlink()
    files = sorted(damaged.glob("*.journal"))
    file = files[data.draw(st.integers(0, len(files) - 1))]
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    refused, found = None, None
    try:
        found = read(damaged)
    except CorruptJournal as error:
        refused = error.path
    assert refused in (None, file)
    if found is not None:
        assert file == files[-1]
        lasts = {number: held.journal.last for number, held in found.partitions.items()}
        behind = sum(written.told.values()) - sum(lasts.values())
        assert behind == 3


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_after_a_loss_of_power_all_that_was_synced_is_there(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of what was not synced, any bytes may be on the disk or not."""
    path = tmp_path_factory.mktemp("power")
    with Journal(path / "one") as journal:
        journal.run(data.draw(st.integers(1, 10)))
        told = dict(journal.told)
        file = newest(path / "one")
        safe = {one.name: one.stat().st_size for one in (path / "one").glob("*.journal")}
        mark = (path / "one" / SYNCED).read_bytes()
        journal.run(data.draw(st.integers(1, 4)), sync=False)
        off = copy(path / "one", path / "off")
    for file in off.glob("*.journal"):
        content, begin = bytearray(file.read_bytes()), safe.get(file.name, 0)
        if file.name != newest(off).name:
            # A file is synced before the next one is begun.
            begin = len(content)
        if data.draw(st.booleans()):
            del content[data.draw(st.integers(begin, len(content))) :]
        if len(content) > begin and data.draw(st.booleans()):
            hole = data.draw(st.integers(begin, len(content) - 1))
            content[hole : hole + 64] = bytes(len(content[hole : hole + 64]))
        file.write_bytes(content)
    (off / SYNCED).write_bytes(mark)
    found = read(off)
    for number, last in told.items():
        held = found.partitions[number]
        assert held.journal.last >= last
        held.validate()
