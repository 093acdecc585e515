"""Runs pieces of work at the owners of their partitions, all owners at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from tupelo._async import runtime
from tupelo._async.dispatch import Dispatcher
from tupelo._async.lane import UnitLane
from tupelo.batch import GarbledAnswer
from tupelo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    ResultCode,
    TooLarge,
    TupeloError,
)
from tupelo.pieces import Failed, Piece, Work, chunks
from tupelo.retry import DEADLINE, NOT_SENT, Attempts, Failure

Sent = tuple[UnitLane, Sequence[Piece], "runtime.Pending"]


async def scatter(
    dispatcher: Dispatcher, work: Work, pieces: Sequence[Piece], timeout_s: float | None
) -> None:
    """Carries out all pieces; what fails is repeated alone, with its token.

    A piece that is given up has its `error` set. Writes get their tokens here, one a piece.
    """
    if timeout_s is None:
        timeout_s = dispatcher.config.timeout_s
    deadline = runtime.monotonic() + timeout_s
    dispatcher.budget.deposit(len(pieces))
    for piece in pieces:
        piece.attempts = Attempts(
            dispatcher.policy, dispatcher.budget, writes=work.writes, deadline=deadline
        )
    if work.writes:
        dispatcher.assign(pieces)
    try:
        pending = list(pieces)
        while pending:
            failed = await _attempt(dispatcher, work, pending, deadline)
            pending = await _decide(dispatcher, failed)
    finally:
        for piece in pieces:
            if piece.token is not None:
                dispatcher.end(piece.token)


async def _attempt(
    dispatcher: Dispatcher, work: Work, pieces: Sequence[Piece], deadline: float
) -> list[tuple[UnitLane | None, Failed]]:
    """Asks every owner for its pieces once."""
    failed: list[tuple[UnitLane | None, Failed]] = []
    by_lane: dict[UnitLane, list[Piece]] = {}
    for piece in pieces:
        lane = dispatcher.lanes[piece.partition]
        if lane is None:
            failed.append((None, (piece, dispatcher.no_primary(piece.partition))))
        else:
            by_lane.setdefault(lane, []).append(piece)
    sent: list[Sent] = []
    table = dispatcher.routes.table
    for lane, owned in by_lane.items():
        for chunk in chunks(owned, dispatcher.config):
            left_s = deadline - runtime.monotonic()
            size_bytes = sum([piece.size_bytes for piece in chunk])
            try:
                batch = work.batch(chunk, table, left_s)
                sent.append((lane, chunk, lane.begin([batch], left_s, size_bytes)))
            except (ConnectionLost, Overloaded) as error:
                failed += _failed(lane, chunk, error)
    for lane, sent_chunk, handle in sent:
        try:
            results = await runtime.wait(handle)
            failed += [(lane, failure) for failure in work.read(sent_chunk, results[0])]
        except (TupeloError, GarbledAnswer) as error:
            failed += _failed(lane, sent_chunk, error)
    return failed


def _failed(
    lane: UnitLane, chunk: Sequence[Piece], error: Exception
) -> list[tuple[UnitLane | None, Failed]]:
    """The failure of a whole batch, as one of each of its pieces."""
    code: int = ResultCode.OUTCOME_UNKNOWN
    if isinstance(error, DeadlineExceeded):
        code = DEADLINE
    elif isinstance(error, ConnectionLost):
        code = NOT_SENT
    elif isinstance(error, Overloaded | TooLarge):
        code = error.code
    maybe = isinstance(error, OutcomeUnknown | GarbledAnswer)
    failed: list[tuple[UnitLane | None, Failed]] = []
    for piece in chunk:
        session, number = piece.token or (None, 0)
        failure = Failure(code, str(error), {}, maybe and number > 0, session, number)
        failed.append((lane, (piece, failure)))
    return failed


async def _decide(
    dispatcher: Dispatcher, failed: Sequence[tuple[UnitLane | None, Failed]]
) -> list[Piece]:
    """The pieces to try again, after the pause that the most patient of them asks for."""
    again: list[Piece] = []
    refresh = False
    delay_s = 0.0
    for lane, (piece, failure) in failed:
        assert piece.attempts is not None
        try:
            decision = dispatcher.decide(
                piece.attempts, failure, dispatcher.moved(piece.partition, lane)
            )
        except TupeloError as error:
            piece.error = error
            continue
        if decision.fresh and piece.token is not None:
            dispatcher.renew(piece.token, failure)
            piece.token = dispatcher.next_token()
        refresh = refresh or decision.refresh
        delay_s = max(delay_s, decision.delay_s)
        again.append(piece)
    if refresh:
        await dispatcher.routes.refresh()
    if delay_s > 0.0:
        await runtime.sleep(delay_s)
    return again
