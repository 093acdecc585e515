"""One partition of the fake grid: a dictionary, a sequence, and the answers given to tokens."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from tupelo import kinds
from tupelo.errors import ResultCode

Entry = tuple[bytes, int]
Outcome = tuple[int, int, bytes]

OK = int(ResultCode.OK)


class Partition:
    """`applications` counts how often each token took effect, which must never be twice."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, bytes], Entry] = {}
        self.sequence = 0
        self.applied: dict[tuple[int, int], Outcome] = {}
        self.floors: dict[int, int] = {}
        self.applications: Counter[tuple[int, int]] = Counter()

    def read(self, kind: int, space: str, key: bytes, value: bytes) -> Outcome:
        found = self.entries.get((space, key))
        if kind == kinds.COUNT:
            count = sum(1 for name, _ in self.entries if name == space)
            return OK, 0, msgspec.msgpack.encode(count)
        if kind == kinds.SCAN:
            (limit,) = msgspec.msgpack.decode(value)
            rows = sorted((k, *entry) for (name, k), entry in self.entries.items() if name == space)
            return OK, 0, msgspec.msgpack.encode([row for row in rows if row[0] > key][:limit])
        if kind == kinds.GET_NEAR:
            answer = msgspec.msgpack.encode([found and found[0], 0, 1, self.sequence])
            return OK, found[1] if found else 0, answer
        if found is None:
            return int(ResultCode.NOT_FOUND), 0, b""
        return OK, found[1], found[0] if kind == kinds.GET else b""

    def write(self, kind: int, space: str, key: bytes, value: bytes, expected: int) -> Outcome:
        found = self.entries.get((space, key))
        self.sequence += 1
        if kind == kinds.PUT_IF_ABSENT and found:
            return int(ResultCode.EXISTS), found[1], b""
        if kind in (kinds.REPLACE, kinds.DELETE) and not found:
            return int(ResultCode.NOT_FOUND), 0, b""
        conditional = kind in (kinds.COMPARE_AND_SET, kinds.DELETE_IF_VERSION)
        if conditional and (found is None or found[1] != expected):
            return int(ResultCode.VERSION_MISMATCH), found[1] if found else 0, b""
        if kind in (kinds.DELETE, kinds.DELETE_IF_VERSION):
            del self.entries[space, key]
        else:
            self.entries[space, key] = (value, self.sequence)
        return OK, self.sequence, b""

    def write_group(
        self, kind: int, space: str, token: tuple[int, int], keys: Any, values: Any
    ) -> int:
        """A group of a bulk write, as one record. Returns its sequence number."""
        if token in self.applied:
            return self.applied[token][1]
        self.sequence += 1
        self.applications[token] += 1
        for index, key in enumerate(keys):
            if kind == kinds.PUT:
                self.entries[space, key] = (values[index], self.sequence)
            else:
                self.entries.pop((space, key), None)
        self.applied[token] = (OK, self.sequence, b"")
        return self.sequence
