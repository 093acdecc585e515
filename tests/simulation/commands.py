"""The application of the simulated grid: counters, append lists, transfers."""

from __future__ import annotations

import msgspec
from tupelo_grid.core.commands import PartitionView
from tupelo_grid.core.records import Mutation, Result

SPACE = "default"
BRIEF = "brief"
SPACES = {SPACE: 0, BRIEF: 400}
ACCOUNTS = 3
OPENING = 100

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


def account_key(number: int) -> bytes:
    return b"account%d" % number


class Application:
    """add [key, n] -> sum; append [key, item] -> length; transfer [from, to, n] -> both balances;
    total [] -> sum of all accounts (read-only)."""

    def knows(self, command: str) -> bool:
        return command in ("add", "append", "transfer", "total")

    def run(
        self, command: str, arguments: bytes, view: PartitionView
    ) -> tuple[Result, tuple[Mutation, ...]]:
        taken = _decode(arguments) if arguments else []
        if command == "add":
            key, more = taken
            entry = view.get(SPACE, key)
            total = (_decode(entry.value) if entry else 0) + more
            return (0, 0, _encode(total)), ((SPACE, key, _encode(total), 0),)
        if command == "append":
            key, item = taken
            entry = view.get(SPACE, key)
            items = (_decode(entry.value) if entry else []) + [item]
            return (0, 0, _encode(len(items))), ((SPACE, key, _encode(items), 0),)
        if command == "transfer":
            return self._transfer(view, *taken)
        balances = [self._balance(view, account_key(n)) for n in range(ACCOUNTS)]
        return (0, 0, _encode(sum(balances))), ()

    def _transfer(
        self, view: PartitionView, source: bytes, target: bytes, amount: int
    ) -> tuple[Result, tuple[Mutation, ...]]:
        have = self._balance(view, source)
        if have < amount:
            refusal = _encode(["Poor", f"only {have}", {}])
            return (4, 0, refusal), ()
        left, more = have - amount, self._balance(view, target) + amount
        return (0, 0, _encode([left, more])), (
            (SPACE, source, _encode(left), 0),
            (SPACE, target, _encode(more), 0),
        )

    @staticmethod
    def _balance(view: PartitionView, key: bytes) -> int:
        entry = view.get(SPACE, key)
        return _decode(entry.value) if entry else OPENING
