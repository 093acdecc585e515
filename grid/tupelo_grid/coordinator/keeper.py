"""Follows the state store: what the grid is like, as far as this process knows.

    keeper = TableKeeper(store, config)
    async with keeper:                       # follows in the background
        state = await keeper.wait_for(lambda state: state.grid is not None)
        keeper.subscribe(lambda state: ...)

While the store is away the last known state stays, so that whoever routes by it goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec
from tupelo.schema import DEFAULT_SPACE, SpaceSchema, decode_schema

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.port import Hint, KeyValue, Snapshot, StateStore, StoreError
from tupelo_grid.core.table import (
    COMMAND_PREFIX,
    GRID_KEY,
    LEASE_PREFIX,
    MALFORMED,
    PART_PREFIX,
    SPACE_PREFIX,
    GridInfo,
    Lease,
    PartitionTable,
    Versioned,
    decode_config,
    decode_grid,
    decode_lease,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_S_MIN: Final = 0.05
_PAUSE_S_MAX: Final = 1.0


class GridState(msgspec.Struct, frozen=True):
    """The state store as of some read and the changes seen since; never changed in place.

    Attributes:
        grid: None until the coordinator has created the grid.
        table: the partition table; its version is 0 while there is none.
        leases: by incarnation, fenced ones included. Renewals alone make no new state.
        spaces: schema of every declared space by name; the untyped "default" is always there.
        commands: what units say of their commands, by name: JSON as it was written.
    """

    grid: GridInfo | None = None
    table: PartitionTable = PartitionTable(0, {})
    leases: Mapping[str, Lease] = {}
    spaces: Mapping[str, SpaceSchema] = msgspec.field(
        default_factory=lambda: {DEFAULT_SPACE: SpaceSchema(DEFAULT_SPACE)}
    )
    commands: Mapping[str, bytes] = {}

    @property
    def partitions(self) -> int:
        """0 until the grid is known."""
        return self.grid.partitions if self.grid else 0

    @property
    def grid_id(self) -> bytes:
        """The 16 bytes that travel; empty until the grid is known."""
        return bytes.fromhex(self.grid.grid_id) if self.grid else b""

    def primary_address(self, partition: int) -> str:
        """Where the partition's primary is reached; "" while it has none."""
        part = self.table.parts.get(partition)
        lease = self.leases.get(part.config.primary) if part else None
        return lease.address if lease else ""


Callback = Callable[[GridState], None]


class TableKeeper:
    """Keeps `state` up to date, as an async context manager. One task; no thread.

    Args:
        store: the state store, usually a RemoteStateStore.
        config: rpc_timeout_s is how long one read may take.
    """

    def __init__(self, store: StateStore, config: GridConfig) -> None:
        self._store = store
        self._config = config
        self._entries: dict[str, KeyValue] = {}
        self._read_revision = -1
        self._callbacks: list[Callback] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state = GridState()
        # Whether the last read succeeded.
        self.connected = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="table keeper")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def entries(self) -> Mapping[str, KeyValue]:
        """The state store's keys as last seen, with values as they were written."""
        return self._entries

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Calls back with each new state, in this event loop; returns how to end that.

        Not called for what is known already. A callback that raises is logged and kept.
        """
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def wait_for(self, wanted: Callable[[GridState], bool]) -> GridState:
        """The first state that `wanted` holds for; the caller bounds the wait."""
        while not wanted(self.state):
            self._changed.clear()
            await self._changed.wait()
        return self.state

    async def refresh(self) -> GridState:
        """Reads everything now. Raises StoreAway."""
        try:
            snapshot = await self._store.read("")
        except StoreError:
            self.connected = False
            raise
        if self._is_other_grid(snapshot):
            log.warning("the coordinator serves another grid now; what was known is forgotten")
            self._entries, self._read_revision, self.state = {}, -1, GridState()
        # A slower read must not bring back what a faster one already replaced.
        if snapshot.revision >= self._read_revision:
            self._read_revision = snapshot.revision
            self._entries = {
                key: self._newer(key, entry) for key, entry in snapshot.entries.items()
            }
            self._publish(set(self._entries), everything=True)
        self.connected = True
        return self.state

    def _is_other_grid(self, snapshot: Snapshot) -> bool:
        """Its data directory was made anew: revisions began again and mean nothing here."""
        known, read = self._entries.get(GRID_KEY), snapshot.entries.get(GRID_KEY)
        return known is not None and read is not None and known.value != read.value

    def _newer(self, key: str, entry: KeyValue) -> KeyValue:
        known = self._entries.get(key)
        return known if known and known.revision > entry.revision else entry

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                async for hint in self._store.watch(""):
                    failures = 0
                    await self._take(hint)
            except StoreError as error:
                self.connected = False
                log.warning("the state store cannot be watched: %s", error)
            except Exception:
                log.exception("following the state store failed; it is begun again")
            failures += 1
            await asyncio.sleep(min(_PAUSE_S_MIN * 2 ** min(failures, 10), _PAUSE_S_MAX))

    async def _take(self, hint: Hint) -> None:
        # A deletion is rare, and a hint of it may be late: reading again is always right.
        if hint.reread or hint.deleted or self._read_revision < 0:
            await self._reread()
            return
        changed = set()
        for key, entry in hint.entries.items():
            known = self._entries.get(key)
            late = entry.revision <= (known.revision if known else self._read_revision)
            if not late:
                self._entries[key] = entry
                changed.add(key)
        if changed:
            self._publish(changed)

    async def _reread(self) -> None:
        """Until it succeeds; hints wait meanwhile, bounded by the watch itself."""
        pause_s = _PAUSE_S_MIN
        while True:
            try:
                await self.refresh()
                return
            except StoreError as error:
                if pause_s == _PAUSE_S_MIN:
                    log.warning("the state store is away, the last known table stays: %s", error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    def _publish(self, keys: set[str], everything: bool = False) -> None:
        state = _advance(self.state, self._entries, keys, everything)
        if state is self.state:
            return
        self.state = state
        self._changed.set()
        for callback in list(self._callbacks):
            try:
                callback(state)
            except Exception:
                log.exception("a subscriber to the table failed")


def _advance(
    state: GridState, entries: Mapping[str, KeyValue], keys: set[str], everything: bool
) -> GridState:
    """The state with `keys` as they are in `entries`; with `everything`, nothing but these."""
    grid = state.grid
    if GRID_KEY in keys:
        grid = _merge({}, entries, {GRID_KEY}, GRID_KEY, decode_grid, False).get("", grid)
    table = state.table.merge(_parts(state.table, entries, keys))
    leases = _merge(state.leases, entries, keys, LEASE_PREFIX, decode_lease, everything)
    if _lasting(leases) == _lasting(state.leases):
        leases = state.leases
    spaces = _merge(state.spaces, entries, keys, SPACE_PREFIX, decode_schema, everything)
    if DEFAULT_SPACE not in spaces:
        spaces = {DEFAULT_SPACE: SpaceSchema(DEFAULT_SPACE), **spaces}
    commands = _merge(state.commands, entries, keys, COMMAND_PREFIX, bytes, everything)
    new = GridState(grid, table, leases, spaces, commands)
    return state if new == state else new


def _parts(
    table: PartitionTable, entries: Mapping[str, KeyValue], keys: set[str]
) -> dict[int, Versioned]:
    parts: dict[int, Versioned] = {}
    for key in keys:
        if not key.startswith(PART_PREFIX):
            continue
        try:
            number, entry = int(key[len(PART_PREFIX) :]), entries[key]
            known = table.parts.get(number)
            if known is None or known.revision < entry.revision:
                parts[number] = Versioned(decode_config(entry.value), entry.revision)
        except MALFORMED as error:
            log.warning("%s in the state store cannot be read: %s", key, error)
    return parts


def _merge(
    known: Mapping[str, T],
    entries: Mapping[str, KeyValue],
    keys: set[str],
    prefix: str,
    decode: Callable[[bytes], T],
    everything: bool,
) -> Mapping[str, T]:
    """A value that cannot be decoded is passed over: one bad declaration must not stop the rest."""
    changed = [key for key in keys if key.startswith(prefix)]
    if not changed and not everything:
        return known
    merged = {} if everything else dict(known)
    for key in changed:
        try:
            merged[key[len(prefix) :]] = decode(entries[key].value)
        except MALFORMED as error:
            log.warning("%s in the state store cannot be read: %s", key, error)
    return merged


def _lasting(leases: Mapping[str, Lease]) -> dict[str, Lease]:
    """Leases without what each renewal changes."""
    return {
        name: lease if lease.fenced else msgspec.structs.replace(lease, nonce="")
        for name, lease in leases.items()
    }
