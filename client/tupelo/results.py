"""What calls return."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

V = TypeVar("V")


class Token(msgspec.Struct, frozen=True, gc=False, order=True):
    """The place of a write in its partition's journal.

    Tokens of one partition are ordered: a later write has a greater one.
    """

    partition: int
    epoch: int
    sequence: int


class Written(msgspec.Struct, frozen=True, gc=False):
    """A write that has been acknowledged.

    Attributes:
        token: where it is in the journal.
        version: of the entry after it, which is the token's sequence number.
        copies: replicas that hold it, primary included.
    """

    token: Token
    version: int
    copies: int


class WrittenMany(msgspec.Struct, frozen=True):
    """A bulk write that has been acknowledged: one token for every partition's part of it.

    Attributes:
        tokens: one a group, where a partition's entries that fit one frame are a group.
        entries: number of entries that were sent.
        copies: replicas, primary included, that hold every part.
    """

    tokens: tuple[Token, ...]
    entries: int
    copies: int


class Versioned(msgspec.Struct, Generic[V], frozen=True):
    """A value with its entry's version, for `compare_and_set` and `delete(version=...)`."""

    value: V
    version: int


class Item(msgspec.Struct, Generic[V], frozen=True):
    """One entry of a scan. A key of several parts is a tuple."""

    key: Any
    value: V
    version: int
