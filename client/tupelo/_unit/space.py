"""A space as application code declares it and, inside a command, uses it."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Final, Generic

import msgspec

from tupelo._unit import context as _context
from tupelo._unit.context import (
    CommandContext,
    CommandLimits,
    CommandMisuse,
    Decoded,
    OtherPartition,
    Write,
)
from tupelo._unit.entry import E, EntryNotFound, EntryType
from tupelo.codec import (
    DECODE_ERRORS,
    SpaceCodec,
    decode_key,
    encode_struct,
    in_words,
    partition_of,
)
from tupelo.errors import InvalidArgument, TooLarge
from tupelo.schema import SpaceSchema
from tupelo.seconds import is_seconds

_NONE_DECODED: Final[Decoded] = {}
_NO_WRITES: Final[dict[bytes, Write]] = {}


class Space(Generic[E]):
    """Declared by `ProcessingUnit.space`. Types the client (`grid.space(seats)`), and is the handle
    to the data inside a running command.

    All data methods work within a command only, on entries of the command's own partition. They see
    the command's own writes, which are committed together when it returns, or not at all. A key is
    the key field's value, or a tuple of the key fields' values. Errors: CommandMisuse outside of a
    command, for a write in a read-only one, and where the space has another number of route values
    than the command; OtherPartition for a key of another partition; InvalidArgument for what is no
    key or no entry of this space.
    """

    def __init__(
        self, schema: SpaceSchema, entry_type: builtins.type[E], description: EntryType
    ) -> None:
        self.name = schema.name
        self.schema = schema
        self.type = entry_type
        codec = SpaceCodec(schema, entry_type)
        assert codec.key_of is not None
        self._key_of = codec.key_of
        self._encode_key = codec.encode_key
        self._route_of_key = codec.route_of_key
        self._decode_value = msgspec.msgpack.Decoder(entry_type).decode
        self._route_values = len(self.route_fields)
        # Encodings of scalars delimit themselves: after the byte that begins an array of up to 15
        # elements, a key begins with the bytes of its route or is of another route.
        self._route_begins_key = schema.route == (0,) and 1 < len(schema.key) <= 15
        self._key_fields = attrgetter(*schema.key)
        self._shareable = description.shareable

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {self.type.__name__})"

    @property
    def route_fields(self) -> tuple[str, ...]:
        """Names of the fields whose values decide the partition."""
        positions = self.schema.route or range(len(self.schema.key))
        return tuple(self.schema.key[position] for position in positions)

    # -- reads

    def get(self, key: Any) -> E | None:
        """The entry, or None."""
        context = _context.active
        if context is None or context.route_values != self._route_values:
            context = self._enter()
        return self._get(context, self._locate(context, key))

    def __getitem__(self, key: Any) -> E:
        """The entry. Raises EntryNotFound, which reaches the caller when it is not caught."""
        entry = self.get(key)
        if entry is None:
            raise EntryNotFound(
                f"space {self.name!r} has no entry {key!r}", space=self.name, key=key
            )
        return entry

    def __contains__(self, key: Any) -> bool:
        context = self._enter()
        return self._present(context, self._locate(context, key))

    def version(self, key: Any) -> int:
        """Version of the entry as it was before this command; 0 when there was none."""
        context = self._enter()
        stored = context.view.get(self.name, self._locate(context, key))
        return 0 if stored is None else stored.version

    def items(self) -> Iterator[tuple[Any, E]]:
        """Keys and entries of the command's partition, in no particular order. They are those at
        the time of the call; what the command writes while it iterates is not among them. Other
        routes may share the partition, so filter by the one you mean."""
        key_of = self._key_of
        return iter([(key_of(entry), entry) for entry in self._all()])

    def values(self) -> Iterator[E]:
        """The entries of `items`."""
        return iter(self._all())

    def _all(self) -> list[E]:
        context = self._enter()
        # What it finds here is in its partition wherever it runs, and may be touched.
        context.own_route = False
        decoded = context.decoded.get(self.name, _NONE_DECODED)
        writes = context.writes.get(self.name, _NO_WRITES)
        entries: list[E] = []
        for key, stored in context.view.items(self.name):
            value = stored.value
            if key in writes:
                continue
            known = decoded.get(key)
            if known is not None and known[0] is value:
                entries.append(known[1])
            else:
                entries.append(self._decode(context, key, value))
        for value_or_none, _, entry in writes.values():
            if value_or_none is not None:
                entries.append(entry if self._shareable else self._decode_value(value_or_none))
        return entries

    # -- writes

    def put(self, entry: E, ttl_s: float | None = None) -> E:
        """Writes the entry, whatever was there, and returns it.

        `ttl_s`: seconds to live from now; None: the space's default; 0: for ever. Raises TooLarge
        above the limits of keys, values, or a command's writes.
        """
        context = _context.active
        if context is None or context.route_values != self._route_values:
            context = self._enter()
        key = self._locate(context, self._key_of_entry(entry))
        return self._put(context, key, entry, ttl_s)

    def put_if_absent(self, entry: E, ttl_s: float | None = None) -> bool:
        """Writes the entry where there is none. Returns whether it did."""
        context = self._enter()
        key = self._locate(context, self._key_of_entry(entry))
        if self._present(context, key):
            return False
        self._put(context, key, entry, ttl_s)
        return True

    def delete(self, key: Any) -> bool:
        """Removes the entry. Returns whether there was one."""
        context = self._enter()
        self._check_writable(context)
        key_bytes = self._locate(context, key)
        writes = context.writes.get(self.name, {})
        buffered = writes.get(key_bytes)
        if context.view.get(self.name, key_bytes) is None:
            # Nothing to remove from the partition: forgetting the own write is enough.
            writes.pop(key_bytes, None)
            return buffered is not None
        if buffered is not None and buffered[0] is None:
            return False
        self._buffer(context, key_bytes, (None, 0, None))
        return True

    def _put(self, context: CommandContext, key: bytes, entry: E, ttl_s: float | None) -> E:
        if context.read_only:
            self._check_writable(context)
        value = encode_struct(entry)
        limits = context.limits
        if len(key) > limits.key_bytes_max or len(value) > limits.value_bytes_max:
            raise self._too_large(len(key), len(value), limits)
        try:
            # Structs do not check their fields when they are made. What is stored must fit its
            # type, or every later reader fails in the writer's place.
            kept = self._decode_value(value)
        except DECODE_ERRORS as error:
            raise InvalidArgument(
                f"a field of {self.type.__name__} has a value of the wrong type: {in_words(error)} "
                f"(entry {decode_key(key)!r:.100} of space {self.name!r})"
            ) from None
        deadline_ms = 0
        if ttl_s is not None or self.schema.ttl_ms:
            deadline_ms = self._deadline(context, ttl_s)
        self._buffer(context, key, (value, deadline_ms, kept))
        if self._shareable:
            self._remember(context, key, value, kept)
        return kept

    def _too_large(self, key_bytes: int, value_bytes: int, limits: CommandLimits) -> TooLarge:
        if key_bytes > limits.key_bytes_max:
            return TooLarge(
                f"a key of space {self.name!r} has {key_bytes} bytes; "
                f"key_bytes_max allows {limits.key_bytes_max}"
            )
        return TooLarge(
            f"an entry of space {self.name!r} has {value_bytes} bytes; "
            f"value_bytes_max allows {limits.value_bytes_max}"
        )

    def _deadline(self, context: CommandContext, ttl_s: float | None) -> int:
        if ttl_s is None:
            ttl_ms = self.schema.ttl_ms
        elif is_seconds(ttl_s):
            ttl_ms = math.ceil(ttl_s * 1000)
        elif ttl_s == 0 and ttl_s is not False:
            ttl_ms = 0
        else:
            raise InvalidArgument(f"ttl_s is seconds to live, 0 for ever; not {ttl_s!r}")
        return context.now_ms + ttl_ms if ttl_ms else 0

    def _buffer(self, context: CommandContext, key: bytes, write: Write) -> None:
        """Rewriting a key counts again: these are bounds on a command's work, not its outcome."""
        value, limits = write[0], context.limits
        context.items_written += 1
        context.bytes_written += len(key) + (len(value) if value is not None else 0)
        if context.items_written > limits.items_max:
            raise TooLarge(
                f"{context.command} writes more than {limits.items_max} entries; split it, or "
                f"raise command_items_max"
            )
        if context.bytes_written > limits.bytes_max:
            raise TooLarge(
                f"{context.command} writes more than {limits.bytes_max} bytes; split it, or "
                f"raise command_bytes_max"
            )
        writes = context.writes.get(self.name)
        if writes is None:
            writes = context.writes[self.name] = {}
        writes[key] = write

    # -- helpers

    def _enter(self) -> CommandContext:
        context = _context.active
        if context is None:
            context = _context.current(f"data of space {self.name!r}")
        if context.route_values != self._route_values:
            raise CommandMisuse(
                f"{context.command} is routed by {context.route_values} value(s) and space "
                f"{self.name!r} by {self._route_values} ({', '.join(self.route_fields)}): they are "
                f"not in the same place. Declare both with the same route"
            )
        return context

    def _check_writable(self, context: CommandContext) -> None:
        if context.read_only:
            raise CommandMisuse(
                f"{context.command} is declared read_only and writes to space {self.name!r}; "
                f"declare it without read_only"
            )

    def _key_of_entry(self, entry: E) -> Any:
        if entry.__class__ is not self.type:
            raise InvalidArgument(
                f"an entry of space {self.name!r} is a {self.type.__name__}, not {entry!r:.100}"
            )
        try:
            return self._key_fields(entry)
        except AttributeError:
            return self._key_of(entry)  # raises, and says what

    def _locate(self, context: CommandContext, key: Any) -> bytes:
        """Key bytes, of a key in the command's partition."""
        key_bytes = self._encode_key(key)
        if self._route_begins_key and key_bytes.startswith(context.route, 1):
            return key_bytes
        route_of_key = self._route_of_key
        route = key_bytes if route_of_key is None else route_of_key(key)
        if route != context.route:
            partition = partition_of(route, context.partitions)
            if partition != context.partition or context.own_route:
                where = (
                    f"is in partition {partition}"
                    if partition != context.partition
                    else "is of another route, in the same partition by chance"
                )
                raise OtherPartition(
                    f"{context.command} runs in partition {context.partition}, and {key!r} of "
                    f"space {self.name!r} {where}: a command can touch only entries with the "
                    f"route that it was called with"
                )
        return key_bytes

    def _present(self, context: CommandContext, key: bytes) -> bool:
        writes = context.writes.get(self.name)
        if writes is not None and key in writes:
            return writes[key][0] is not None
        return context.view.get(self.name, key) is not None

    def _get(self, context: CommandContext, key: bytes) -> E | None:
        writes = context.writes.get(self.name)
        if writes is not None:
            write = writes.get(key)
            if write is not None:
                written: E | None = write[2]
                if written is None or self._shareable:
                    return written
                assert write[0] is not None
                return self._decode_value(write[0])
        stored = context.view.get(self.name, key)
        return None if stored is None else self._decode(context, key, stored.value)

    def _decode(self, context: CommandContext, key: bytes, value: bytes) -> E:
        if not self._shareable:
            return self._read(key, value)
        decoded = context.decoded.get(self.name)
        if decoded is not None:
            known = decoded.get(key)
            if known is not None and known[0] is value:
                entry: E = known[1]
                return entry
        entry = self._read(key, value)
        self._remember(context, key, value, entry)
        return entry

    def _read(self, key: bytes, value: bytes) -> E:
        try:
            entry: E = self._decode_value(value)
        except DECODE_ERRORS as error:
            raise InvalidArgument(
                f"entry {decode_key(key)!r:.100} of space {self.name!r} does not fit "
                f"{self.type.__name__}: {in_words(error)}; delete it, or write it anew"
            ) from None
        return entry

    def _remember(self, context: CommandContext, key: bytes, value: bytes, entry: E) -> None:
        decoded = context.decoded.get(self.name)
        if decoded is None:
            decoded = context.decoded[self.name] = {}
        decoded[key] = (value, entry)
        if len(decoded) > context.limits.decoded_entries_max:
            del decoded[next(iter(decoded))]  # the one that came first
