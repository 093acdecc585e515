# Made from tupelo/_async/space.py by scripts/make_sync.py: change it there.
"""A space as a client uses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

from tupelo import kinds
from tupelo._sync.dispatch import Operation
from tupelo._sync.persist import wait_stored
from tupelo._sync.reads import SpaceReads
from tupelo._sync.runtime import monotonic
from tupelo.codec import SpaceCodec
from tupelo.errors import ConnectionLost
from tupelo.pieces import Bulk
from tupelo.results import Token, Written, WrittenMany
from tupelo.retry import Failure
from tupelo.seconds import timeout, ttl_ms
from tupelo.transport import CLIENT_CLOSED
from tupelo.writes import (
    MISSING,
    check_stored,
    check_version,
    pairs,
    several,
    tokens_of,
    typed_pair,
    written,
    written_many,
)

V = TypeVar("V")


class Space(SpaceReads[V]):
    """A named collection of entries. Get one from `Grid.space`.

    An untyped space takes any key (`tupelo.codec`) and any MessagePack value. A typed one takes
    entries of its class, or dicts of their fields where only the name of the space was given; the
    key is in the entry, and a key of several fields is written as a tuple: `get(("e1", 7))`.

    Every method takes `timeout_s` (default: `ClientConfig.timeout_s`), which covers retries. They
    raise RequestError for what can never succeed, Unavailable when it certainly was not carried out
    in that time, OutcomeUnknown for a write of which that is not known. A condition that does not
    hold is no error: it returns None.

    `strict=True` on a read has every in-sync replica confirm it, and relies on no clock.
    """

    __slots__ = ()

    # Writes.

    @overload
    def put(
        self,
        entry: V,
        /,
        *,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written: ...

    @overload
    def put(
        self,
        key: Any,
        value: V,
        /,
        *,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written: ...

    def put(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written:
        """Writes an entry: `put(entry)` of a typed space, `put(key, value)` of an untyped one.

        Args:
            ttl_s: time to live in seconds; default: that of the space.
            write_through: returns only when the store has it, as in a space declared so; within
                the same time. Raises NotPersisted otherwise: then it is in the grid nevertheless.
                Not of a space that is not stored (InvalidArgument).

        A typed entry must have the types of its fields. The values of an untyped space come back as
        MessagePack has them: a tuple or set as a list, a date, Decimal or UUID as a str, a Struct
        or dataclass as a dict. What must keep its type belongs into a typed space.
        """
        codec = self._codec or self._resolve()
        if write_through:
            check_stored(codec)
        if codec.key_of is not None or value is MISSING:
            key, value = typed_pair(codec, key, value)
        dispatcher = self._dispatcher
        key_bytes, partition = codec.locate(key, dispatcher.partitions)
        stored = codec.encode_value(value)
        lives_ms = 0 if ttl_s is None else ttl_ms(ttl_s)
        deadline = monotonic() + (dispatcher.timeout_s if timeout_s is None else timeout(timeout_s))
        lane = dispatcher.lanes[partition]
        outcome = lane.submit(
            kinds.PUT, partition, self.name, key_bytes, stored, lives_ms, 0, deadline
        )
        if isinstance(outcome, Failure):
            operation = Operation(
                kinds.PUT, self.name, partition, key_bytes, stored, lives_ms, 0, False
            )
            outcome = dispatcher.again(operation, outcome, lane, deadline)
        version = outcome[1]
        done = Written(Token(partition, outcome[3], version), version, outcome[4])
        if write_through or codec.schema.write_through:
            wait_stored(dispatcher, (done.token,), deadline)
        return done

    @overload
    def put_if_absent(
        self,
        entry: V,
        /,
        *,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written | None: ...

    @overload
    def put_if_absent(
        self,
        key: Any,
        value: V,
        /,
        *,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written | None: ...

    def put_if_absent(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written | None:
        """Writes the entry where there is none of its key; None where there is one."""
        return self._write(kinds.PUT_IF_ABSENT, key, value, ttl_s, 0, timeout_s, write_through)

    @overload
    def replace(
        self,
        entry: V,
        /,
        *,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written | None: ...

    @overload
    def replace(
        self,
        key: Any,
        value: V,
        /,
        *,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written | None: ...

    def replace(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written | None:
        """Writes the entry where there is one of its key already; None where there is none."""
        return self._write(kinds.REPLACE, key, value, ttl_s, 0, timeout_s, write_through)

    @overload
    def compare_and_set(
        self,
        entry: V,
        /,
        *,
        version: int,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
        write_through: bool = ...,
    ) -> Written | None: ...

    @overload
    def compare_and_set(
        self,
        key: Any,
        value: V,
        /,
        *,
        version: int,
        ttl_s: float | None = ...,
        timeout_s: float | None = ...,
    ) -> Written | None: ...

    def compare_and_set(
        self,
        key: Any,
        value: Any = MISSING,
        /,
        *,
        version: int,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written | None:
        """Writes the entry where the one there has `version`; None where it has not.

        Args:
            version: of `entry(key)` or of an earlier write; above 0.
        """
        check_version(version)
        return self._write(
            kinds.COMPARE_AND_SET, key, value, ttl_s, version, timeout_s, write_through
        )

    def delete(
        self,
        key: Any,
        *,
        version: int | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> Written | None:
        """Removes the entry of a key; None where there was none, or not of that version."""
        kind = kinds.DELETE
        if version is not None:
            check_version(version)
            kind = kinds.DELETE_IF_VERSION
        codec = self._codec or self._resolve()
        if write_through:
            check_stored(codec)
        deadline = self._deadline(timeout_s)
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        outcome = self._dispatcher.run(
            kind, self.name, partition, key_bytes, b"", 0, version or 0, timeout_s
        )
        done = written(partition, outcome)
        if done is not None and (write_through or codec.schema.write_through):
            wait_stored(self._dispatcher, (done.token,), deadline)
        return done

    def put_many(
        self,
        entries: Mapping[Any, V] | Iterable[V] | Iterable[tuple[Any, V]],
        *,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> WrittenMany:
        """Writes many entries, grouped by their owners; each partition's part is all or nothing.

        Args:
            entries: of a typed space an iterable of entries; of an untyped one a mapping, or an
                iterable of (key, value). Of equal keys the last one counts.

        When some parts fail, the others are written nevertheless; `fields` of the error says how
        many (`entries_done`, `entries_failed`, `partitions_failed`).
        """
        codec = self._codec or self._resolve()
        some = pairs(codec, entries)
        self._dispatcher.turns.take(len(some))
        located = codec.located(some, self._dispatcher.partitions)
        work = Bulk(kinds.PUT, self.name, 0 if ttl_s is None else ttl_ms(ttl_s))
        return self._write_many(codec, work, located, timeout_s, write_through)

    def delete_many(
        self,
        keys: Iterable[Any],
        *,
        timeout_s: float | None = None,
        write_through: bool = False,
    ) -> WrittenMany:
        """Removes many entries; keys without one are passed over. Errors as of `put_many`."""
        codec = self._codec or self._resolve()
        some = list(several("keys", keys))
        self._dispatcher.turns.take(len(some))
        located = codec.located_keys(some, self._dispatcher.partitions)
        work = Bulk(kinds.DELETE, self.name)
        return self._write_many(codec, work, located, timeout_s, write_through)

    def wait_persisted(
        self, write: Token | Written | WrittenMany, *, timeout_s: float | None = None
    ) -> None:
        """Returns when the store has what a write of this space wrote, or something newer of it.

        Args:
            write: what the write returned, or its token.

        Raises NotPersisted when the time is over, with how far the store is behind and why, and
        when the store has refused the change, which is a dead letter then. The write is in the grid
        in either case.
        """
        codec = self._codec or self._resolve()
        check_stored(codec)
        if self._dispatcher.closed:
            raise ConnectionLost(CLIENT_CLOSED)
        wait_stored(self._dispatcher, tokens_of(write), self._deadline(timeout_s))

    # Helpers.

    def _write(
        self,
        kind: int,
        key: Any,
        value: Any,
        ttl_s: float | None,
        version: int,
        timeout_s: float | None,
        write_through: bool,
    ) -> Written | None:
        codec = self._codec or self._resolve()
        if write_through:
            check_stored(codec)
        if codec.key_of is not None or value is MISSING:
            key, value = typed_pair(codec, key, value)
        key_bytes, partition = codec.locate(key, self._dispatcher.partitions)
        value_bytes = codec.encode_value(value)
        lives_ms = 0 if ttl_s is None else ttl_ms(ttl_s)
        deadline = self._deadline(timeout_s)
        outcome = self._dispatcher.run(
            kind, self.name, partition, key_bytes, value_bytes, lives_ms, version, timeout_s
        )
        done = written(partition, outcome)
        if done is not None and (write_through or codec.schema.write_through):
            wait_stored(self._dispatcher, (done.token,), deadline)
        return done

    def _write_many(
        self,
        codec: SpaceCodec,
        work: Bulk,
        located: Mapping[int, dict[bytes, bytes]],
        timeout_s: float | None,
        write_through: bool,
    ) -> WrittenMany:
        if write_through:
            check_stored(codec)
        deadline = self._deadline(timeout_s)
        done = written_many(self._bulk(work, located, timeout_s))
        if write_through or codec.schema.write_through:
            wait_stored(self._dispatcher, done.tokens, deadline)
        return done
