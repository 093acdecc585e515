"""WaitPersisted at a unit: an answer once the store has what a write wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tupelo.schema import SpaceSchema
from tupelo.v1 import data_pb2 as pb

from tupelo_grid.config import GridConfig
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.persist_waits import PersistWaits, Wait, WaitEnd
from tupelo_grid.core.pump_parts import PartitionLag
from tupelo_grid.core.records import Record, mutations_of
from tupelo_grid.core.unit import Unit

Ended = tuple[WaitEnd, str]


class PumpWords(Protocol):
    """What of a pump is told to those who wait."""

    @property
    def error(self) -> str: ...

    def lags(self) -> Sequence[PartitionLag]: ...

    def hurry(self, partitions: set[int]) -> None: ...


class UnitPersisting:
    """Answers for the partitions that the unit is primary of.

    Args:
        waits: told by the unit's pump.
        pump: of the unit.
        schemas: the declared spaces, kept fresh by their owner.
    """

    def __init__(
        self,
        unit: Unit,
        config: GridConfig,
        waits: PersistWaits,
        pump: Callable[[], PumpWords],
        schemas: Mapping[str, SpaceSchema],
    ) -> None:
        self._unit = unit
        self._wait_s_max = config.persist_wait_s_max
        self._waits = waits
        self._pump = pump
        self._schemas = schemas

    async def wait(self, request: pb.WaitPersistedRequest) -> pb.WaitPersistedResponse:
        """Returns when all of the tokens have ended, or at the time-out."""
        timeout_s = min(request.timeout_ms / 1000, self._wait_s_max)
        tokens = request.tokens
        ended: list[Ended | asyncio.Future[Ended]] = []
        waits: list[Wait] = []
        for token in tokens:
            ended.append(self._begin(token, request.declared_only, waits))
        if waits:
            self._pump().hurry({wait.partition for wait in waits})
        pending = [one for one in ended if isinstance(one, asyncio.Future)]
        try:
            if pending and timeout_s > 0:
                await asyncio.wait(pending, timeout=timeout_s)
        finally:
            for wait in waits:
                self._waits.discard(wait)
        states = [self._state(one) for one in ended]
        response = pb.WaitPersistedResponse(states=bytes(end for end, _ in states))
        if any(why for _, why in states):
            response.errors.extend(why for _, why in states)
        late = {
            token.partition
            for token, (end, _) in zip(tokens, states, strict=True)
            if end is WaitEnd.PENDING
        }
        if late:
            self._explain(response, late)
        return response

    @staticmethod
    def _state(one: Ended | asyncio.Future[Ended]) -> Ended:
        if isinstance(one, asyncio.Future):
            return one.result() if one.done() else (WaitEnd.PENDING, "")
        return one

    def _begin(
        self, token: pb.WriteToken, declared_only: bool, waits: list[Wait]
    ) -> Ended | asyncio.Future[Ended]:
        number, sequence = token.partition, token.sequence
        primary = self._unit.primaries.get(number)
        if primary is None or not primary.ready or token.epoch > primary.epoch:
            return WaitEnd.WRONG_OWNER, ""
        held = primary.partition
        if not 0 < sequence <= held.journal.last:
            return WaitEnd.UNKNOWN, f"partition {number} has no write {sequence} yet"
        record = _record(held, sequence)
        if declared_only and record is not None and not self._declared(record):
            return WaitEnd.STORED, ""
        places = frozenset((m[0], m[1]) for m in mutations_of(record)) if record else frozenset()
        if held.persisted >= sequence:
            why = self._waits.refusal(number, sequence, places)
            return (WaitEnd.DEAD_LETTER, why) if why else (WaitEnd.STORED, "")
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def done(end: WaitEnd, why: str) -> None:
            if not future.done():
                future.set_result((end, why))

        wait = Wait(number, sequence, places, done)
        if not self._waits.add(wait):
            return WaitEnd.PENDING, "too many calls wait for the store already"
        waits.append(wait)
        return future

    def _declared(self, record: Record) -> bool:
        schemas = self._schemas
        return any(
            (schema := schemas.get(mutation[0])) is not None and schema.write_through
            for mutation in mutations_of(record)
        )

    def _explain(self, response: pb.WaitPersistedResponse, late: set[int]) -> None:
        pump = self._pump()
        lags = [lag for lag in pump.lags() if lag.partition in late]
        response.lag_records = max((lag.records for lag in lags), default=0)
        response.lag_bytes = max((lag.size for lag in lags), default=0)
        response.lag_s = max((lag.seconds for lag in lags), default=0.0)
        problems = [lag.problem for lag in lags if lag.problem]
        response.cause = problems[0] if problems else pump.error


def _record(held: Partition, sequence: int) -> Record | None:
    """None for one that is forgotten: the store has passed it."""
    return held.journal.at(sequence) if sequence > held.journal.base else None
