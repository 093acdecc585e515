"""A unit with a disk: opens its journal before it takes part, and takes its old places again."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import StateStore, StoreAway, StoreError, StoreInDoubt
from tupelo_grid.core.disk import Batch
from tupelo_grid.core.disk_format import Drop
from tupelo_grid.core.disk_segments import Segments
from tupelo_grid.core.durable import DurableUnit
from tupelo_grid.core.frames import Ack
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.rejoin import Place, named, rejoin
from tupelo_grid.core.view import View, ViewReader
from tupelo_grid.journal_files.folder import (
    Folder,
    FolderError,
    Identity,
    boot_id,
    journal_path,
)
from tupelo_grid.journal_files.log import DiskFull, Log
from tupelo_grid.journal_files.recovery import Recovered, recover
from tupelo_grid.journal_files.writer import JournalWriter
from tupelo_grid.runtime.errors import FatalStartError

log = logging.getLogger(__name__)

REJOIN_S = 0.1
# The thread that writes must not keep the event loop waiting: by default it could for 5 ms at each
# of the loop's system calls.
SWITCH_S = 0.0005
# Streams of which is remembered how far they were acknowledged, also when nothing of them waits.
STREAMS_MAX = 128

Answer = Callable[[Ack], None]


@dataclass(slots=True)
class Opened:
    """A unit's journal, read and ready to be written."""

    place: Place
    recovered: dict[int, Partition]
    files: Log


async def open_journal(
    stack: AsyncExitStack,
    config: GridConfig,
    name: str,
    grid_id: str,
    store: StateStore,
    incarnation: Callable[[], Awaitable[str]],
) -> Opened:
    """Reads what earlier processes of this unit left, then asks for an incarnation.

    Raises FatalStartError.
    """
    try:
        folder = stack.enter_context(Folder(journal_path(config, name)))
        identity = _own(folder, grid_id, name)
        found = await asyncio.to_thread(_recover, folder, config)
        me = await incarnation()
        view = ViewReader().read(await store.read(""))
        place = _place(identity, me, view)
        recovered = {
            number: held
            for number, held in found.partitions.items()
            if number in view.parts and named(view.parts[number].config, place)
        }
        folder.write_identity(
            Identity(
                grid_id,
                name,
                (*place.earlier, me),
                place.behind,
                config.fsync == "always",
                boot_id(),
            )
        )
        files = Log(folder, found, config.disk_segment_bytes)
        files.open()
        sys.setswitchinterval(SWITCH_S)
        stack.callback(files.close)
        await asyncio.to_thread(_forget, files, found, recovered)
    except FolderError as error:
        raise FatalStartError(str(error), error.hint) from error
    except (OSError, DiskFull) as error:
        raise FatalStartError(
            f"the journal in {journal_path(config, name)} cannot be opened: {error}",
            "check the disk, its room and its permissions",
        ) from error
    except StoreError as error:
        raise FatalStartError(
            f"the table cannot be read: {error}", "check the control process's log"
        ) from error
    return Opened(place, recovered, files)


def _own(folder: Folder, grid_id: str, name: str) -> Identity:
    """Raises FolderError for a folder of another grid or unit."""
    identity = folder.identity() or Identity(grid_id, name)
    if (identity.grid_id, identity.unit) != (grid_id, name):
        raise FolderError(
            f"{folder.path} is the journal of {identity.unit} of grid {identity.grid_id}, not of "
            f"{name} of grid {grid_id}",
            "give another data directory, or move the folder away to begin empty",
        )
    return identity


def _recover(folder: Folder, config: GridConfig) -> Recovered:
    started = time.monotonic()
    gc.disable()
    try:
        segments = Segments(config.disk_segment_bytes, config.disk_snapshot_bytes_min)
        found = recover(folder, segments)
    finally:
        gc.enable()
    # What was read stays for long; the collector need not look at it.
    gc.freeze()
    if found.last:
        log.info(
            "journal: %d partitions, %d entries, %d records behind snapshots, %d bytes in %.2f s",
            len(found.partitions),
            sum(held.entries() for held in found.partitions.values()),
            found.records,
            found.segments.total,
            time.monotonic() - started,
        )
    if found.cut:
        log.warning("journal: %d bytes that were never acknowledged were cut off", found.cut)
    return found


def _forget(files: Log, found: Recovered, kept: Mapping[int, Partition]) -> None:
    """What no table names any more must be gone before the new incarnation can be named: else its
    next life would take it for what this one held. Raises OSError, DiskFull."""
    gone = [Drop(number) for number in found.partitions if number not in kept]
    if gone:
        files.write(Batch(0, drops=gone), sync=True)


def _place(identity: Identity, me: str, view: View) -> Place:
    """Of the incarnations that wrote the folder only those matter that the table still names."""
    members = {member for part in view.parts.values() for member in part.config.in_sync}
    earlier = tuple(one for one in identity.incarnations if one in members)
    lost_power = not identity.always and (not identity.boot or identity.boot != boot_id())
    behind = earlier if lost_power else tuple(one for one in identity.behind if one in earlier)
    return Place(me, earlier, behind)


async def take_places(unit: DurableUnit, store: StateStore) -> None:
    """Until every recovered replica has its place again, or is known to have none."""
    reader = ViewReader()
    while unit.recovered:
        try:
            view = reader.read(await store.read(""))
            txn = rejoin(view, unit.place, unit.ends())
            if txn is not None:
                result = await store.txn(txn.conditions, txn.puts)
                if result.succeeded:
                    log.info("%s", txn.reason)
                    continue
        except (StoreAway, StoreInDoubt) as error:
            log.info("places cannot be taken yet: %s", error)
        # What others change meanwhile is not met again at the same moment.
        await asyncio.sleep(REJOIN_S * (0.5 + random.random()))


@dataclass(slots=True)
class Held:
    """Acknowledgements of one stream: how many wait, and the position of the last that left."""

    stream_id: int
    answer: Answer
    position: int = 0
    waiting: int = 0


def _release(held: Held, ack: Ack, answer: Answer) -> None:
    held.waiting -= 1
    held.position = max(held.position, ack.position)
    answer(ack)


class Journaling:
    """The writer of a running unit."""

    def __init__(self, unit: DurableUnit, opened: Opened, store: StateStore, config: GridConfig):
        self._unit = unit
        self._store = store
        self.writer = JournalWriter(unit.disk, opened.files, config, self._synced)
        self.after: Callable[[], None] = lambda: None
        self._held: dict[str, Held] = {}

    def _synced(self, numbers: Iterable[int]) -> None:
        self._unit.synced(numbers)
        self.after()

    def hold(self, ack: Ack, answer: Answer) -> None:
        """Answers when all that is in memory now is on disk."""
        held = self._held.get(ack.receiver)
        if held is None or held.stream_id != ack.stream_id:
            if len(self._held) >= STREAMS_MAX:
                self._held = {peer: one for peer, one in self._held.items() if one.waiting}
            held = self._held[ack.receiver] = Held(ack.stream_id, answer)
        held.waiting += 1
        self._unit.disk.hold(partial(_release, held, ack, answer))

    def signs_of_life(self) -> None:
        """A large batch takes the disk longer than a backup may be silent. While it is at work,
        primaries hear what they have heard before, so that they wait."""
        if self.writer.at_work:
            for peer, held in self._held.items():
                if held.waiting:
                    held.answer(Ack(self._unit.me, peer, held.stream_id, held.position))

    async def run(self) -> None:
        """Takes the old places again. Raises DiskFailed when the unit has to end."""
        await take_places(self._unit, self._store)
        await asyncio.shield(self.writer.failed)

    def counters(self) -> dict[str, int]:
        return {
            "disk_bytes": self.writer.bytes,
            "disk_batches": self.writer.batches,
            "disk_full": int(bool(self._unit.disk.trouble)),
            "disk_waiting": len(self._unit.recovered),
        }
