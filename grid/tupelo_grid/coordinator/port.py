"""The port of the state store: linearizable, compare-and-swap; holds the table and the leases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from tupelo_grid.core import table
from tupelo_grid.core.statestore import KeyValue, Snapshot, Txn, TxnResult

__all__ = [
    "REREAD",
    "Hint",
    "KeyValue",
    "Snapshot",
    "StateStore",
    "StoreAway",
    "StoreError",
    "StoreInDoubt",
    "Txn",
    "TxnResult",
    "next_incarnation",
]


class StoreError(Exception):
    """The state store gave no answer."""


class StoreInDoubt(StoreError):
    """The transaction may or may not have been applied, and may still be."""


class StoreAway(StoreError):
    """Certainly nothing was done. Reads only ever fail this way."""


class Hint(msgspec.Struct, frozen=True):
    """Keys that changed. A hint may skip, join and repeat changes; the truth is `read`.

    Attributes:
        entries: keys that were put, as they are now.
        deleted: keys that are gone.
        revision: of the store.
        reread: the watcher may have missed anything: read again. The first hint of a watch is one.
    """

    entries: Mapping[str, KeyValue]
    deleted: tuple[str, ...]
    revision: int
    reread: bool = False


REREAD = Hint({}, (), 0, reread=True)


class StateStore(Protocol):
    """Adapters: `sqlite`, and `client` for a coordinator reached by gRPC."""

    async def read(self, prefix: str) -> Snapshot:
        """All keys that start with `prefix` ("" for all), as of one revision.

        Raises StoreAway.
        """
        ...

    async def txn(
        self,
        conditions: Sequence[tuple[str, int]],
        puts: Mapping[str, bytes],
        deletes: Sequence[str] = (),
    ) -> TxnResult:
        """Does all changes when every (key, revision) holds, or nothing. Revision 0: absent.

        Raises StoreInDoubt, StoreAway, and ValueError for a transaction that breaks a limit.
        """
        ...

    def watch(self, prefix: str, after_revision: int = 0) -> AsyncIterator[Hint]:
        """Hints of changes under `prefix`, beginning with one that says to re-read. Does not end.

        `after_revision` is what the watcher has seen; an adapter with a history may use it.
        """
        ...


INCARNATION_ATTEMPTS_MAX = 20


async def next_incarnation(store: StateStore, unit: str) -> str:
    """A name that no other process start has or will have, such as "unit-1#7".

    A number is used only after its swap is known to have succeeded; one in doubt is skipped.
    Raises StoreAway when the store gave no certain answer in 20 attempts.
    """
    if "#" in unit or not unit:
        raise ValueError(f"a unit's name is not empty and has no '#': {unit!r}")
    key = table.NEXT_INCARNATION_KEY
    failure: StoreError | None = None
    for _ in range(INCARNATION_ATTEMPTS_MAX):
        try:
            entry = (await store.read(key)).entries.get(key)
            number = int(entry.value) if entry else 1
            revision = entry.revision if entry else 0
            result = await store.txn([(key, revision)], {key: str(number + 1).encode()})
        except StoreError as error:
            failure = error
            continue
        if result.succeeded:
            return table.incarnation_of(unit, number)
    raise StoreAway(
        f"no incarnation number for {unit!r} after {INCARNATION_ATTEMPTS_MAX} attempts"
    ) from failure
