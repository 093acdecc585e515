"""Random input, from nearly right to nonsense: values, bytes, and protobuf messages of any type."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
Hint = Callable[[random.Random], Any]
Hints = Mapping[str, Hint]

EDGES: Final = (0, 1, 2, 3, 7, 15, 16, 63, 64, 127, 128, 255, 256, 65535, 65536)
WIDE_EDGES: Final = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
WORDS: Final = (
    "default", "seats", "nowhere", "chaos.add", "chaos.take", "unit-1#1", "a" * 200, "", "é\u0000",
    "\U0001f600", "$base64", "$map", "$ext", "..", "1e999", "NaN",
)  # fmt: skip
DEPTHS: Final = (3, 40, 600, 5000)
# Columns that are left out more often than not.
MAY_MISS: Final = frozenset(
    {"bulk", "counts", "deleted", "grid_id", "refused", "results", "space_index", "target_index"}
)

_pack: Final = msgspec.msgpack.encode


def integer(rng: random.Random, bits: int = 64, signed: bool = False) -> int:
    edges = [edge for edge in (*EDGES, *WIDE_EDGES) if edge < 1 << (bits - signed)]
    number = rng.choice(edges) if rng.random() < 0.8 else rng.getrandbits(bits - signed)
    return -number if signed and rng.random() < 0.3 else number


def value(rng: random.Random, depth: int = 3) -> Any:
    """Anything that MessagePack can carry, sizes and depths bounded."""
    kind = rng.randrange(10 if depth else 7)
    if kind < 2:
        return integer(rng, 63, signed=True)
    if kind == 2:
        return rng.choice((None, True, False))
    if kind == 3:
        return rng.choice((0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 1e300))
    if kind < 6:
        return rng.choice(WORDS)
    if kind == 6:
        return rng.randbytes(rng.choice((0, 1, 8, 200)))
    if kind < 9:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(WORDS): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def packed(rng: random.Random) -> bytes:
    """MessagePack, mostly."""
    chance = rng.random()
    if chance < 0.7:
        return _pack(value(rng))
    if chance < 0.85:
        return mutated(rng, _pack(value(rng)))
    if chance < 0.9:
        return b"\x91" * rng.choice(DEPTHS) + b"\xc0"
    return rng.randbytes(rng.randrange(40))


def key(rng: random.Random) -> bytes:
    """A key's bytes, mostly right."""
    if rng.random() < 0.8:
        return _pack(rng.choice((1, "k", b"k", None, ["e1", 7], ["a"], -1, 1.5)))
    return packed(rng)


def json_text(rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.5:
        text = json.dumps(value(rng), default=lambda item: {"$base64": item.hex()})
    elif chance < 0.7:
        mark = rng.choice(("$base64", "$map", "$ext"))
        text = json.dumps({mark: value(rng)}, default=lambda item: "AQI=")
    elif chance < 0.8:
        text = rng.choice(("[", '{"a":')) * rng.choice(DEPTHS)
    elif chance < 0.9:
        text = rng.choice(WORDS) + str(integer(rng, 80, signed=True))
    else:
        text = mutated(rng, b'{"event": "e1", "number": 7, "holder": null}').decode("latin-1")
    # A protobuf string is UTF-8, so no lone surrogates.
    return text.encode("utf-8", "replace").decode()


def mutated(rng: random.Random, data: bytes) -> bytes:
    """`data` with some accident."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(changed) + 1)
        accident = rng.randrange(6)
        if accident == 0:
            del changed[place:]
        elif accident == 1:
            changed[place:place] = rng.randbytes(rng.choice((1, 4, 30)))
        elif accident == 2 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif accident == 3 and place < len(changed):
            changed[place] = rng.choice((0, 1, 0x7F, 0x80, 0xC1, 0xDF, 0xFF))
        elif accident == 4:
            del changed[place : place + rng.randrange(8)]
        else:
            changed += changed[place : place + 50]
    return bytes(changed)


def message(rng: random.Random, kind: type[M], hints: Hints, depth: int = 4, rows: int = -1) -> M:
    """A message with random fields. Most of them are whole, with columns that agree in length.

    Args:
        hints: by field name (or "Message.field"), what makes one element.
        rows: length of the columns, as in the message around it; below 0: any.
    """
    made = kind()
    whole = rng.random() < (0.9 if rows >= 0 else 0.6)
    rows = rows if rows >= 0 else rng.choice((0, 1, 1, 2, 3, 5))
    for field in kind.DESCRIPTOR.fields:
        if rng.random() < (0.01 if whole else 0.15):
            continue
        if whole and field.name in MAY_MISS and rng.random() < 0.7:
            continue
        if field.is_repeated:
            count = rows if whole or rng.random() < 0.95 else rng.randrange(7)
            elements = [
                _element(rng, field, hints, depth, rows if whole else -1) for _ in range(count)
            ]
            if field.message_type:
                if depth:
                    getattr(made, field.name).extend(elements)
            else:
                getattr(made, field.name).extend(elements)
        elif field.message_type:
            if depth and rng.random() < 0.6:
                getattr(made, field.name).CopyFrom(
                    _element(rng, field, hints, depth, rows if whole else -1)
                )
        else:
            setattr(made, field.name, _scalar(rng, field, hints, rows))
    return made


def _element(
    rng: random.Random, field: FieldDescriptor, hints: Hints, depth: int, rows: int
) -> Any:
    if field.message_type:
        return message(rng, field.message_type._concrete_class, hints, depth - 1, rows)
    return _scalar(rng, field, hints, 0)


def _scalar(rng: random.Random, field: FieldDescriptor, hints: Hints, rows: int) -> Any:
    hint = hints.get(f"{field.containing_type.name}.{field.name}") or hints.get(field.name)
    if hint is not None and rng.random() < 0.97:
        # A bytes field of one byte a row, such as `kinds`.
        if not field.is_repeated and field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            made = hint(rng)
            return bytes(hint(rng) for _ in range(rows)) if isinstance(made, int) else made
        return hint(rng)
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.choice((packed, lambda r: r.randbytes(rows)))(rng)
        return rng.choice(WORDS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice((0.0, 1.5, float("nan"), float("inf"), -1.0))
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice((0, 1, 2, 3, 7, 64, 200))
    signed = kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    wide = kind in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    return integer(rng, 64 if wide else 32, signed)


def wire(rng: random.Random, made: Message) -> bytes:
    """The message's bytes, at times with an accident."""
    data = made.SerializeToString()
    chance = rng.random()
    if chance < 0.75:
        return data
    return mutated(rng, data) if chance < 0.95 else rng.randbytes(rng.randrange(80))


def pick(choices: Sequence[Any]) -> Hint:
    return lambda rng: rng.choice(choices)
