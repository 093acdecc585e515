"""Answers of many values: what does not fit one message is left for the next one.

Whoever asks cannot know how large the values are, so it is the answer that is bounded: a value that
has no room is taken out of it again, and its operation is told ANSWER_FULL. Asked again at once, it
finds its value where it was: a read reads again, and of a command the result is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tupelo.errors import ResultCode
from tupelo.kinds import GET
from tupelo.v1.data_pb2 import BatchResult, BulkResult, OpBatch

FULL: Final = int(ResultCode.ANSWER_FULL)

ANSWER_SHARE: Final = 2
"""The values of one answer take at most this part of a message; one alone may take more."""


class Room:
    """What is left for values in one message of `message_bytes_max`."""

    def __init__(self, message_bytes_max: int) -> None:
        self.bytes_max = message_bytes_max // ANSWER_SHARE
        self._left = self.bytes_max
        self._empty = True

    def takes(self, size: int) -> bool:
        """Whether a value has room; the first one has, so that there is always something."""
        if size > self._left and not self._empty:
            return False
        self._left -= size
        self._empty = False
        return True


def bound(results: Sequence[BatchResult], batches: Iterable[OpBatch], room: Room) -> None:
    """Takes out of the results of `batches`, in order, what is too much for one message."""
    for result, batch in zip(results, batches, strict=True):
        codes = bytearray(result.codes)
        for index, value in enumerate(result.values):
            if value and not room.takes(len(value)):
                codes[index] = FULL
                result.values[index] = b""
        result.codes = bytes(codes)
        if batch.bulk.kind == GET and result.HasField("bulk"):
            _bound_groups(result.bulk, batch.bulk.counts, room)


def _bound_groups(bulk: BulkResult, counts: Sequence[int], room: Room) -> None:
    """A group's values stay together. One of several that are too much for any message is never
    sent, so that it is asked for in parts."""
    if not bulk.values:
        return
    codes, end = bytearray(bulk.codes), 0
    for group, count in enumerate(counts):
        start, end = end, end + count
        size = sum(map(len, bulk.values[start:end]))
        if not size:
            continue
        if (size > room.bytes_max and count > 1) or not room.takes(size):
            codes[group] = FULL
            for place in range(start, end):
                bulk.values[place] = b""
                bulk.versions[place] = 0
    bulk.codes = bytes(codes)
