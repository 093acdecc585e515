"""The arguments and results of writes, checked and made; shared by both clients."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from tupelo.batch import Outcome
from tupelo.codec import SpaceCodec
from tupelo.errors import InvalidArgument
from tupelo.pieces import Group
from tupelo.results import Token, Written, WrittenMany

MISSING: Final[Any] = object()


def hashable(key: Any) -> Any:
    return tuple(key) if key.__class__ is list else key


def check_stored(codec: SpaceCodec) -> None:
    """For who wants to wait for the store. Raises InvalidArgument where there is nothing to wait
    for."""
    if not codec.schema.persist:
        raise InvalidArgument(
            f"space {codec.name!r} is not stored (persist=False): no write to it reaches the store"
        )


def several(what: str, given: Any) -> Iterable[Any]:
    """Raises InvalidArgument for what cannot be iterated over, or is one text rather than many."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise InvalidArgument(f"give an iterable of {what}, not {given!r:.100}")
    return given


def check_version(version: int) -> None:
    if version.__class__ is not int or version <= 0:
        raise InvalidArgument(f"a version is an int above 0, not {version!r}")


def typed_pair(codec: SpaceCodec, entry: Any, value: Any) -> tuple[Any, Any]:
    """Key and value of what was given to a write."""
    if codec.key_of is None:
        raise InvalidArgument(
            f"space {codec.name!r} is untyped: give a key and a value, put(key, value)"
        )
    if value is not MISSING:
        raise InvalidArgument(
            f"space {codec.name!r} is typed: give the entry alone, its key is in it"
        )
    return codec.key_of(entry), entry


def pairs(codec: SpaceCodec, entries: Any) -> Collection[tuple[Any, Any]]:
    key_of = codec.key_of
    if key_of is not None:
        return [(key_of(entry), entry) for entry in several("entries", entries)]
    if isinstance(entries, Mapping):
        return list(entries.items())
    pairs: list[tuple[Any, Any]] = []
    for pair in several("(key, value) pairs", entries):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidArgument(
                f"space {codec.name!r} is untyped: give a mapping or (key, value) pairs, "
                f"not {pair!r:.100}"
            )
        pairs.append((pair[0], pair[1]))
    return pairs


def written(partition: int, outcome: Outcome) -> Written | None:
    if outcome[0]:
        return None
    version = outcome[1]
    return Written(Token(partition, outcome[3], version), version, outcome[4])


def written_many(groups: list[Group]) -> WrittenMany:
    return WrittenMany(
        tokens=tuple([Token(group.partition, group.epoch, group.version) for group in groups]),
        entries=sum([len(group.entries) for group in groups]),
        copies=min([group.copies for group in groups], default=0),
    )


def tokens_of(write: Token | Written | WrittenMany) -> tuple[Token, ...]:
    """Raises InvalidArgument for anything else."""
    if isinstance(write, Token):
        return (write,)
    if isinstance(write, Written):
        return (write.token,)
    if isinstance(write, WrittenMany):
        return write.tokens
    raise InvalidArgument(f"give what a write returned, or its token, not {write!r:.100}")
