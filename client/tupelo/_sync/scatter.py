# Made from tupelo/_async/scatter.py by scripts/make_sync.py: change it there.
"""Runs pieces of work at the owners of their partitions, all owners at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from tupelo._sync import runtime
from tupelo._sync.dispatch import Dispatcher, Lane
from tupelo.batch import GarbledAnswer
from tupelo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    PartitionLost,
    ResultCode,
    TooLarge,
    TupeloError,
)
from tupelo.pieces import Failed, Piece, Work, chunks
from tupelo.retry import DEADLINE, NOT_SENT, Attempts, Failure
from tupelo.seconds import timeout
from tupelo.session import Session

Taken = tuple[Session, int, int]
Sent = tuple[Lane, Sequence[Piece], "runtime.Pending"]


def scatter(
    dispatcher: Dispatcher, work: Work, pieces: Sequence[Piece], timeout_s: float | None
) -> None:
    """Carries out all pieces; what fails is repeated alone, with its token.

    A piece that is given up has its `error` set. Writes get their tokens here, one a piece.
    """
    timeout_s = dispatcher.config.timeout_s if timeout_s is None else timeout(timeout_s)
    deadline = runtime.monotonic() + timeout_s
    dispatcher.budget.deposit(len(pieces))
    taken = dispatcher.assign(pieces) if work.writes else []
    try:
        pending = list(pieces)
        while pending:
            failed = _attempt(dispatcher, work, pending, deadline)
            pending = _decide(dispatcher, failed, deadline, work, taken) if failed else []
    finally:
        dispatcher.end_all(taken)


def _attempt(
    dispatcher: Dispatcher, work: Work, pieces: Sequence[Piece], deadline: float
) -> list[tuple[Lane, Failed]]:
    """Asks every owner for its pieces once."""
    failed: list[tuple[Lane, Failed]] = []
    by_lane: dict[Lane, list[Piece]] = {}
    lanes = dispatcher.lanes
    for piece in pieces:
        by_lane.setdefault(lanes[piece.partition], []).append(piece)
    sent: list[Sent] = []
    table = dispatcher.routes.table
    for lane, owned in by_lane.items():
        for chunk in chunks(owned, dispatcher.config):
            left_s = deadline - runtime.monotonic()
            size_bytes = sum([piece.size_bytes for piece in chunk])
            try:
                batch = work.batch(chunk, table, left_s)
                sent.append((lane, chunk, lane.begin([batch], left_s, size_bytes)))
            except (ConnectionLost, Overloaded, PartitionLost) as error:
                failed += _failed(lane, chunk, error)
    for lane, sent_chunk, handle in sent:
        try:
            results = runtime.wait(handle)
            failed += [(lane, failure) for failure in work.read(sent_chunk, results[0])]
        except (TupeloError, GarbledAnswer) as error:
            failed += _failed(lane, sent_chunk, error)
    return failed


def _failed(lane: Lane, chunk: Sequence[Piece], error: Exception) -> list[tuple[Lane, Failed]]:
    """The failure of a whole batch, as one of each of its pieces."""
    code: int = ResultCode.OUTCOME_UNKNOWN
    if isinstance(error, DeadlineExceeded):
        code = DEADLINE
    elif isinstance(error, ConnectionLost):
        code = NOT_SENT
    elif isinstance(error, Overloaded | TooLarge | PartitionLost):
        code = error.code
    # What was too large may have been the answer.
    maybe = isinstance(error, OutcomeUnknown | GarbledAnswer | TooLarge)
    failed: list[tuple[Lane, Failed]] = []
    for piece in chunk:
        session, number = piece.token or (None, 0)
        failure = Failure(code, str(error), {}, maybe and number > 0, session, number)
        failed.append((lane, (piece, failure)))
    return failed


def _decide(
    dispatcher: Dispatcher,
    failed: Sequence[tuple[Lane, Failed]],
    deadline: float,
    work: Work,
    taken: list[Taken],
) -> list[Piece]:
    """The pieces to try again, after the pause that the most patient of them asks for."""
    again: list[Piece] = []
    renewed: list[Piece] = []
    refresh = False
    delay_s = 0.0
    for lane, (piece, failure) in failed:
        if piece.attempts is None:
            piece.attempts = Attempts(
                dispatcher.policy, dispatcher.budget, writes=work.writes, deadline=deadline
            )
        try:
            decision = dispatcher.decide(
                piece.attempts, failure, dispatcher.moved(piece.partition, lane)
            )
        except TupeloError as error:
            piece.give_up(error)
            continue
        if decision.fresh and piece.token is not None:
            dispatcher.renew(piece.token, failure)
            renewed.append(piece)
        refresh = refresh or decision.refresh
        delay_s = max(delay_s, decision.delay_s)
        again += piece.smaller(failure)
    if renewed:
        taken += dispatcher.assign(renewed)
    if refresh:
        dispatcher.routes.refresh(deadline)
    if delay_s > 0.0:
        runtime.sleep(delay_s)
    return again
