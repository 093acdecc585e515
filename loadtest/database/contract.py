"""The service's calls: MessagePack in gRPC's unary calls, which costs less than protobuf here."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

SERVICE: Final = "airline.Sale"
ERROR_KEY: Final = "airline-error"
"""Trailing metadata of a FAILED_PRECONDITION: the name of the airline's error."""


class SeatMapRequest(msgspec.Struct, array_like=True):
    flight: str


class SeatMapAnswer(msgspec.Struct, array_like=True):
    """As the airline's SeatMap."""

    flight: str
    free: list[int]
    held: list[int]
    sold: int
    fare: Decimal | None


class SeatRequest(msgspec.Struct, array_like=True):
    """Of Hold, Buy and Release."""

    flight: str
    number: int
    customer: str


class HoldAnswer(msgspec.Struct, array_like=True):
    flight: str
    number: int
    customer: str
    since: datetime


class SeatAnswer(msgspec.Struct, array_like=True):
    flight: str
    number: int
    customer: str
    sold_at: datetime
    price: Decimal | None


class Nothing(msgspec.Struct, array_like=True):
    """Of Release."""


CALLS: Final[dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]]] = {
    "SeatMap": (SeatMapRequest, SeatMapAnswer),
    "Hold": (SeatRequest, HoldAnswer),
    "Buy": (SeatRequest, SeatAnswer),
    "Release": (SeatRequest, Nothing),
}

encode = msgspec.msgpack.Encoder().encode
