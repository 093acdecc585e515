"""One page of the unary Scan: which partitions to ask, and where the next page begins."""

from __future__ import annotations

import base64
from typing import Final

import msgspec
from tupelo.errors import InvalidArgument
from tupelo.v1 import data_pb2 as pb

from tupelo_grid.core.query import SCAN_BYTES_MAX

Entries = list[tuple[bytes, bytes, int]]

_place: Final = msgspec.msgpack.Decoder(tuple[int, bytes])


class ScanPage:
    """One page of a scan as it fills, and the place where the next one begins.

    `width` is the number of partitions to ask next: more while little comes back, since sparse
    partitions must not cost a round trip each.
    """

    def __init__(self, limit: int, partition: int, after: bytes) -> None:
        self.response = pb.ScanResponse()
        self.partition = partition
        self.after = after
        self.width = 1
        self._limit = limit
        self._size_bytes = 0

    @property
    def wanted(self) -> int:
        """Entries that still fit; 0 when the page is full."""
        if self._size_bytes >= SCAN_BYTES_MAX:
            return 0
        return self._limit - len(self.response.keys)

    def take(self, pages: list[Entries], width_max: int) -> None:
        """What `width` partitions have, each asked for `wanted` entries."""
        asked, began = self.wanted, self._size_bytes
        for page in pages:
            taken = page[: self.wanted]
            size_bytes = self._add(taken)
            # The last page of a partition is known by being short of both limits.
            last = len(page) < asked and size_bytes < SCAN_BYTES_MAX
            if len(taken) < len(page) or not last:
                break
            self.partition, self.after = self.partition + 1, b""
        got_bytes = self._size_bytes - began
        self.width = min(2 * self.width, width_max) if 4 * got_bytes < SCAN_BYTES_MAX else 1

    def _add(self, entries: Entries) -> int:
        response = self.response
        for key, value, version in entries:
            response.keys.append(key)
            response.values.append(value)
            response.versions.append(version)
            self.after = key
        size_bytes = sum(len(key) + len(value) for key, value, _ in entries)
        self._size_bytes += size_bytes
        return size_bytes


def make_page_token(partition: int, after: bytes) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((partition, after))).decode()


def read_page_token(token: str, partitions: int) -> tuple[int, bytes]:
    if not token:
        return 0, b""
    try:
        partition, after = _place.decode(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, msgspec.DecodeError):
        raise InvalidArgument("page_token is not one that Scan gave; begin without one") from None
    if not 0 <= partition < partitions:
        raise InvalidArgument("page_token is of another grid; begin without one")
    return partition, after
