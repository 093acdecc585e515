"""The changes of one partition's part of a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tupelo_grid.core.pump_frames import Change
from tupelo_grid.core.records import Mutation


class Taken:
    """What a run of records leaves to be stored: of several changes of a key the last, in spaces
    where that will do.

    Args:
        coalesced: whether that is so in a space; None: its changes are not stored.
    """

    def __init__(self, coalesced: Callable[[str], bool | None]) -> None:
        self.count = 0
        self._coalesced = coalesced
        self._known: dict[str, bool | None] = {}
        # By space; nothing is made for a change until it is known to be the last of its key.
        self._last: dict[str, dict[bytes, tuple[int, Mutation]]] = {}
        self._all: dict[tuple[str, bytes, int], Change] = {}

    def add(self, sequence: int, mutations: Iterable[Mutation]) -> None:
        for mutation in mutations:
            space = mutation[0]
            last = self._last.get(space)
            if last is None:
                if space not in self._known:
                    self._known[space] = self._coalesced(space)
                if not self._known[space]:
                    if self._known[space] is not None:
                        self._add_each(sequence, mutation)
                    continue
                last = self._last[space] = {}
            known = len(last)
            last[mutation[1]] = (sequence, mutation)
            self.count += len(last) - known

    def _add_each(self, sequence: int, mutation: Mutation) -> None:
        """A record that changes a key twice has changed it once, to the second."""
        space, key, value, deadline_ms = mutation
        known = len(self._all)
        self._all[space, key, sequence] = (space, key, value, sequence, deadline_ms)
        self.count += len(self._all) - known

    def changes(self) -> list[Change]:
        """Those of one key in the order they were made."""
        lasting = [
            (space, key, value, sequence, deadline_ms)
            for last in self._last.values()
            for sequence, (space, key, value, deadline_ms) in last.values()
        ]
        return [*lasting, *self._all.values()]
