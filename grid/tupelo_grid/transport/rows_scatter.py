"""Count and Scan: one question to many partitions, and what is said when some do not answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
import msgspec
from tupelo import kinds
from tupelo.batch import timeout_ms
from tupelo.errors import ResultCode
from tupelo.v1 import data_pb2 as pb

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core.table import unit_of
from tupelo_grid.transport.rows_scan import ScanPage, make_page_token
from tupelo_grid.transport.status import Refused, refused

Context = grpc.aio.ServicerContext[Any, Any]
ExecuteBatch = Callable[[pb.OpBatch, Context], Awaitable[pb.BatchResult]]

NAMED_MAX: Final = 16
"""Partitions in the words of one error; its fields have all."""

_pack: Final = msgspec.msgpack.Encoder().encode
_page: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, int]])

# What fewer partitions at a time may get past.
_TOO_LARGE: Final = frozenset({int(ResultCode.VALUE_TOO_LARGE), int(ResultCode.ANSWER_FULL)})
# The first of these that occurs is the code of the whole: what waiting does not mend comes first.
_WEIGHT: Final = (
    ResultCode.UNKNOWN_SPACE,
    ResultCode.INVALID_ARGUMENT,
    ResultCode.VALUE_TOO_LARGE,
    ResultCode.PARTITION_LOST,
    ResultCode.OVERLOADED,
)


@dataclass(frozen=True)
class Answers:
    """Of the partitions asked: the value of each, or why there is none."""

    partitions: range
    values: Sequence[bytes]
    failed: Mapping[int, pb.ErrorDetail] = field(default_factory=dict)

    @property
    def too_large(self) -> bool:
        codes = {int(error.code) for error in self.failed.values()}
        return not codes.isdisjoint(_TOO_LARGE)

    @property
    def unbroken(self) -> Sequence[bytes]:
        """The values before the first partition that failed."""
        if not self.failed:
            return self.values
        return self.values[: min(self.failed) - self.partitions.start]


class Scatter:
    """Asks partitions for the row forms of a servicer.

    Args:
        explain: (partition, code, detail or None) -> what to say of an operation not carried out.
    """

    def __init__(
        self,
        config: GridConfig,
        execute: ExecuteBatch,
        state: Callable[[], GridState],
        explain: Callable[[int, int, pb.ErrorDetail | None], pb.ErrorDetail],
    ) -> None:
        self._config = config
        self._execute = execute
        self._state = state
        self._explain = explain

    async def count(self, space: str, partitions: int, deadline: float, context: Context) -> int:
        """Not a snapshot: each partition counts at its own moment. Raises Refused."""
        total, step = 0, self._config.scatter_max
        for first in range(0, partitions, step):
            asked = range(first, min(first + step, partitions))
            answers = await self._ask(kinds.COUNT, space, asked, b"", b"", deadline, context)
            counts = [int(msgspec.msgpack.decode(value)) for value in answers.values if value]
            total += sum(counts)
            if answers.failed:
                done = first + len(counts)
                raise self._partly(answers, done, {"count": total, "counted": done})
        return total

    async def scan(
        self, space: str, partitions: int, page: ScanPage, deadline: float, context: Context
    ) -> pb.ScanResponse:
        """Fills a page. It ends before a partition that does not answer; Refused where it would
        be empty then."""
        while page.partition < partitions and page.wanted:
            asked = range(page.partition, min(page.partition + page.width, partitions))
            wanted = _pack([page.wanted])
            answers = await self._ask(
                kinds.SCAN, space, asked, page.after, wanted, deadline, context
            )
            if answers.too_large and page.width > 1:
                # The entries of so many partitions do not fit one message.
                page.width = 1
                continue
            page.take([_page.decode(value) for value in answers.unbroken], self._scan_width)
            if answers.failed and page.wanted and page.partition >= min(answers.failed):
                if page.response.keys:
                    break
                raise self._partly(answers, page.partition, {})
        if page.partition < partitions:
            page.response.next_page_token = make_page_token(page.partition, page.after)
        return page.response

    @property
    def _scan_width(self) -> int:
        # The answers of all partitions asked at once must fit one message.
        return max(1, min(self._config.scatter_max, self._config.message_bytes_max >> 21))

    async def _ask(
        self,
        kind: int,
        space: str,
        partitions: range,
        after: bytes,
        value: bytes,
        deadline: float,
        context: Context,
    ) -> Answers:
        """One operation on each partition; `after` is for the first one only.

        Raises Refused where nothing at all was asked.
        """
        count = len(partitions)
        batch = pb.OpBatch(
            timeout_ms=timeout_ms(deadline - time.monotonic()),
            targets=[space],
            kinds=bytes([kind]) * count,
            partitions=partitions,
            keys=[after, *[b""] * (count - 1)],
            values=[value] * count if value else (),
        )
        result = await self._execute(batch, context)
        if result.HasField("refused"):
            raise Refused(result.refused)
        if len(result.codes) != count:
            raise refused(ResultCode.OUTCOME_UNKNOWN, "the answer does not fit the request")
        errors = dict(zip(result.error_ops, result.errors, strict=False))
        failed = {
            partition: self._explain(partition, code, errors.get(index))
            for index, (partition, code) in enumerate(zip(partitions, result.codes, strict=True))
            if code >= ResultCode.WRONG_OWNER
        }
        # A result without any value leaves the column out.
        return Answers(partitions, list(result.values) or [b""] * count, failed)

    def _partly(self, answers: Answers, done: int, more: Mapping[str, Any]) -> Refused:
        """What is said when some partitions did not answer: which, and of which units."""
        failed = answers.failed
        codes = {int(error.code) for error in failed.values()}
        code = next((code for code in _WEIGHT if code in codes), None) or min(codes)
        first = min(number for number, error in failed.items() if int(error.code) == code)
        state = self._state()
        units = sorted({_unit_of(state, number) for number in failed})
        numbers = sorted(failed)
        named = ", ".join(map(str, numbers[:NAMED_MAX]))
        if len(numbers) > NAMED_MAX:
            named += ", ..."
        message = (
            f"{len(failed)} of {len(answers.partitions)} partitions asked did not answer ({named}; "
            f"{', '.join(units)}), {done} had before. Partition {first}: {failed[first].message}"
        )
        fields = {"partitions_failed": numbers, "units_failed": units, **more}
        return refused(ResultCode(code), message, fields)


def _unit_of(state: GridState, partition: int) -> str:
    part = state.table.parts.get(partition)
    return (unit_of(part.config.primary) if part else "") or "no unit"
