"""Places in a scan, and the text form in which a caller keeps them."""

from __future__ import annotations

import base64
import binascii

import msgspec

from tupelo.errors import InvalidArgument


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Behind the key `after` of a partition; from its start where that is empty."""

    partition: int
    after: bytes


_decoder = msgspec.msgpack.Decoder(Place)


def encode_place(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode("ascii")


def decode_place(token: str) -> Place:
    """The start of everything for "". Raises InvalidArgument for what is no token."""
    if token.__class__ is not str:
        raise InvalidArgument(f"a page token is a str, not {token!r:.100}")
    if not token:
        return Place(0, b"")
    try:
        place = _decoder.decode(base64.urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"{token!r} is not a page token of a scan ({error})") from None
    if place.partition < 0:
        raise InvalidArgument(f"{token!r} is not a page token of a scan")
    return place
