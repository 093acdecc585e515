"""When to try again, after how long, and when to give up. Pure: time and chance are arguments."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import msgspec

from tupelo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutcomeUnknown,
    ResultCode,
    TupeloError,
    error_of,
)
from tupelo.session import Session

# Beside the codes of the wire, which are one byte: how an attempt ended on the client's side.
NOT_SENT: Final = 256
DEADLINE: Final = 257
CLOSED: Final = 258

# A partition without an owner gets one within moments. The longest pause is then 0.8 times what was
# waited already, so that little is added to that; overload is left more time, by doubling.
MOVING_GROWTH: Final = 1.3


class Failure(msgspec.Struct, frozen=True):
    """One attempt that brought no answer of the operation itself.

    Attributes:
        code: ResultCode from 16 on, or NOT_SENT, DEADLINE, CLOSED.
        message: what is wrong.
        fields: details of the error.
        maybe: the attempt may have been, or may yet be, carried out.
        session, number: the operation's token; None and 0 when it has none yet.
    """

    code: int
    message: str = ""
    fields: dict[str, Any] = {}
    maybe: bool = False
    session: Session | None = None
    number: int = 0

    def error(self) -> TupeloError:
        if self.code == DEADLINE:
            return DeadlineExceeded(self.message, self.fields)
        if self.code in (NOT_SENT, CLOSED):
            return ConnectionLost(self.message, self.fields)
        return error_of(self.code, self.message, self.fields)


def no_primary(partition: int, lost: bool = False) -> Failure:
    """Of what cannot be sent, as nobody is primary. `lost`: no in-sync replica is alive either, so
    that waiting does not help by itself."""
    if not lost:
        return Failure(NOT_SENT, f"partition {partition} has no primary at the moment")
    return Failure(
        int(ResultCode.PARTITION_LOST),
        f"partition {partition} is lost: none of its in-sync replicas is alive; it returns when "
        "one of them does, or when an operator decides (tupelo promote)",
    )


class Verdict(IntEnum):
    FINAL = 0  # repeating it cannot help
    AGAIN = 1  # the same unit, later
    REROUTE = 2  # by a newer table
    RESESSION = 3  # under a new session, if it was never carried out


_VERDICTS: Final = {
    ResultCode.WRONG_OWNER: Verdict.REROUTE,
    ResultCode.NOT_READY: Verdict.REROUTE,
    # It may be back before the call's time is over, and only a newer table says so.
    ResultCode.PARTITION_LOST: Verdict.REROUTE,
    ResultCode.OVERLOADED: Verdict.AGAIN,
    ResultCode.NOT_ENOUGH_REPLICAS: Verdict.AGAIN,
    ResultCode.SHUTTING_DOWN: Verdict.REROUTE,
    ResultCode.SESSION_EXPIRED: Verdict.RESESSION,
    ResultCode.OUTCOME_UNKNOWN: Verdict.REROUTE,
    ResultCode.ANSWER_FULL: Verdict.AGAIN,
    NOT_SENT: Verdict.REROUTE,
}

# Not charged to the retry budget: nothing was sent, or the load was not in vain, as what had no
# room in an answer left it to others.
_FREE: Final = frozenset({NOT_SENT, int(ResultCode.PARTITION_LOST), int(ResultCode.ANSWER_FULL)})


def verdict_of(code: int) -> Verdict:
    return _VERDICTS.get(code, Verdict.FINAL)


class RetryBudget:
    """A token bucket: every operation deposits `ratio`, every second `per_s`, a retry takes 1.

    So that retries stay a bounded part of the load however many operations fail (the scheme of
    Finagle's and gRPC's retry throttling). The bucket holds at most `burst`, and starts full.
    """

    __slots__ = ("_at", "_burst", "_per_s", "_ratio", "tokens")

    def __init__(self, ratio: float, burst: float, per_s: float, now: float) -> None:
        self._ratio = ratio
        self._burst = burst
        self._per_s = per_s
        self._at = now
        self.tokens = burst

    def deposit(self, operations: int) -> None:
        self.tokens = min(self._burst, self.tokens + self._ratio * operations)

    def spend(self, now: float) -> bool:
        """Takes a token; False when there is none."""
        if now > self._at:
            self.tokens = min(self._burst, self.tokens + self._per_s * (now - self._at))
            self._at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


def backoff_s(
    attempt: int, base_s: float, max_s: float, chance: float, growth: float = 2.0
) -> float:
    """Full jitter: evenly between 0 and min(max_s, base_s * growth**attempt); `chance` in [0, 1).

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return chance * min(max_s, base_s * growth ** min(attempt, 32))


class RetryPolicy(msgspec.Struct, frozen=True):
    base_s: float
    max_s: float


class Decision(msgspec.Struct, frozen=True):
    """Try again after `delay_s`, with a newer table (`refresh`), with a new token (`fresh`)."""

    delay_s: float
    refresh: bool
    fresh: bool


class Attempts:
    """The attempts of one operation: what has happened to it, and so what may be done next."""

    __slots__ = ("_budget", "_policy", "_step", "_writes", "deadline", "made", "maybe")

    def __init__(
        self, policy: RetryPolicy, budget: RetryBudget, *, writes: bool, deadline: float
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._writes = writes
        self.deadline = deadline
        self.made = 0
        self._step = 0
        self.maybe = False

    def after(self, failure: Failure, now: float, chance: float, *, moved: bool) -> Decision:
        """What to do after a failed attempt.

        Args:
            failure: how it ended.
            now: on the clock of the deadline.
            chance: evenly from [0, 1), for the backoff.
            moved: whether another unit is known by now to own the partition.

        Raises the error to give the caller when there is to be no further attempt.
        """
        if failure.maybe and self._writes:
            self.maybe = True
        verdict = verdict_of(failure.code)
        if verdict is Verdict.FINAL or (verdict is Verdict.RESESSION and self.maybe):
            raise self._error(failure, "")
        attempt, self.made = self.made, self.made + 1
        step, self._step = self._step, self._step + 1
        if failure.code not in _FREE and not self._budget.spend(now):
            raise self._error(failure, "the client's retry budget is spent")
        full = failure.code == ResultCode.ANSWER_FULL
        quick = full or verdict is Verdict.RESESSION or (moved and attempt == 0)
        delay_s = 0.0
        if not quick:
            growth = MOVING_GROWTH if verdict is Verdict.REROUTE else 2.0
            delay_s = backoff_s(step, self._policy.base_s, self._policy.max_s, chance, growth)
        if now + delay_s >= self.deadline:
            raise self._error(failure, "the time of the call ran out")
        return Decision(
            delay_s=delay_s,
            refresh=verdict is Verdict.REROUTE and not moved,
            fresh=verdict is Verdict.RESESSION,
        )

    def rerouted(self) -> None:
        """Another unit is asked from now on. How long the one before was waited for says nothing of
        it: the pauses begin anew."""
        self._step = 0

    def _error(self, failure: Failure, why: str) -> TupeloError:
        """Never "failed" for what may have happened."""
        error = failure.error()
        after = f" after {self.made} attempts" if self.made > 1 else ""
        message = "; ".join(part for part in (error.message, why + after if why else "") if part)
        if self.maybe:
            if isinstance(error, OutcomeUnknown):
                return OutcomeUnknown(message, error.fields)
            return OutcomeUnknown(
                f"an earlier attempt may have been carried out; the last one ended with: {message}",
                error.fields,
            )
        if isinstance(error, OutcomeUnknown):
            error = DeadlineExceeded(message, error.fields)
        return type(error)(message, error.fields)
