"""The calls of threads (or greenlets) to one unit, combined without a thread of our own.

Written by hand, where the async client has `connection.py` and `lane.py`: threads need another way
to wait. The first caller that finds the unit free leads: it takes everything that waits as one
frame, sends it as a unary Execute, hands out the results, and passes the lead on to one of those
that have come meanwhile. So frames fill themselves under load here too, and a single caller pays
for no hand-over between threads.

An attempt without an answer for `stall_s` is given up, and repeated with its tokens wherever its
partitions are by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import grpc

from tupelo._sync import runtime
from tupelo._sync.routes import RouteKeeper
from tupelo.batch import (
    Columns,
    GarbledAnswer,
    Outcome,
    Packed,
    Row,
    Token,
    columns_of,
    late,
    operation_bytes_max,
    outcomes,
    pack_again,
    pack_new,
    size_bytes,
    too_large,
    unsent,
)
from tupelo.config import ClientConfig
from tupelo.errors import ConnectionLost, OutcomeUnknown, Overloaded, ResultCode, TooLarge
from tupelo.kinds import WRITES
from tupelo.retry import CLOSED, DEADLINE, NOT_SENT, Failure, RetryBudget, no_primary
from tupelo.session import Sessions
from tupelo.transport import describe, is_too_large, space_stub
from tupelo.v1.data_pb2 import BatchResult, OpBatch, SessionRequest, SessionResponse


class Waiter:
    """A caller that waits: for its outcome, or to be given the lead."""

    __slots__ = ("_signal", "_woken", "gone", "leads", "outcome")

    def __init__(self) -> None:
        self._signal = threading.Lock()
        self._signal.acquire()
        self._woken = False
        self.outcome: Outcome | Failure | None = None
        self.leads = False
        self.gone = False

    def wake(self) -> None:
        """Called with the lane's lock held; may come twice, for the lead and for the outcome."""
        if not self._woken:
            self._woken = True
            self._signal.release()

    def wait(self, timeout_s: float) -> bool:
        return self._signal.acquire(timeout=max(0.0, timeout_s))


class Nowhere:
    """The lane to partitions that have no primary: at the moment, or because they are `lost`."""

    address = ""

    def __init__(self, lost: bool = False) -> None:
        self.lost = lost

    def submit(self, kind: int, partition: int, *_: object) -> Outcome | Failure:
        return no_primary(partition, self.lost)

    def begin(
        self, batches: Sequence[OpBatch], timeout_s: float, size_bytes: int | None = None
    ) -> runtime.Pending:
        first = batches[0]
        partition = (first.partitions or first.bulk.partitions)[0]
        raise no_primary(partition, self.lost).error()


class _Exchange:
    """An Execute of ready-made batches that is on its way."""

    def __init__(self, lane: UnitLane, future: grpc.Future[SessionResponse], count: int) -> None:
        self._lane = lane
        self._future = future
        self._count = count

    def result(self) -> list[BatchResult]:
        lane = self._lane
        try:
            response: SessionResponse = self._future.result()
        except grpc.RpcError as error:
            raise lane.reason(error) from None
        except grpc.FutureCancelledError:
            raise OutcomeUnknown(f"the connection to {lane.address} was closed") from None
        if response.HasField("route"):
            lane.routes.offer(response.route)
        if len(response.results) != self._count:
            raise GarbledAnswer("the answer is not that of the request")
        return list(response.results)


class UnitLane:
    """The way to one unit or router. Thread-safe.

    Args:
        sessions, budget: of the client, shared by its lanes, and guarded by `guard`.

    `belongs(partition)` is set by its owner: whether operations of the partition go here.
    """

    def __init__(
        self,
        address: str,
        config: ClientConfig,
        routes: RouteKeeper,
        sessions: Sessions,
        budget: RetryBudget,
        guard: runtime.Guard,
    ) -> None:
        self.address = address
        self.config = config
        self.routes = routes
        self.closed = False
        self.frames = 0
        self.belongs: Callable[[int], bool] = lambda partition: True
        self._sessions = sessions
        self._budget = budget
        self._guard = guard
        self._bytes_max = operation_bytes_max(config)
        self._execute = space_stub(routes.channel(address)).Execute
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._again: list[Row] = []
        self._leaders = 0

    def submit(
        self,
        kind: int,
        partition: int,
        target: str,
        key: bytes,
        value: bytes,
        ttl_ms: int,
        expected: int,
        deadline: float,
        strict: bool = False,
        token: Token | None = None,
    ) -> Outcome | Failure:
        """Carries out one operation, together with those of other threads.

        Raises Overloaded when queue_ops_max operations wait already.
        """
        waiter = Waiter()
        row: Row = (
            waiter, kind, partition, target, key, value, ttl_ms, expected, deadline, strict, token,
        )  # fmt: skip
        if len(key) + len(value) > self._bytes_max:
            raise too_large(len(key) + len(value), self._bytes_max)
        rows = self._rows if token is None and not strict else self._again
        with self._lock:
            if self.closed:
                return unsent(row, CLOSED, f"the connection to {self.address} is closed")
            if len(rows) >= self.config.queue_ops_max:
                raise Overloaded(
                    f"{len(rows)} calls wait for {self.address}; "
                    "make fewer at a time, or raise queue_ops_max"
                )
            rows.append(row)
            waiter.leads = self._leaders < self.config.frames_in_flight
            if waiter.leads:
                self._leaders += 1
        if not waiter.leads and not waiter.wait(deadline - runtime.monotonic()):
            failure = self._leave(row)
            if failure is not None:
                return failure
        if waiter.leads:
            self._lead(waiter, deadline)
        assert waiter.outcome is not None
        return waiter.outcome

    def begin(
        self, batches: Sequence[OpBatch], timeout_s: float, size_bytes: int | None = None
    ) -> runtime.Pending:
        """Sends ready-made batches in a call of their own; `result()` waits for one result each.

        That raises ConnectionLost when they certainly were not carried out, OutcomeUnknown when no
        (readable) answer came, TooLarge.
        """
        if self.closed:
            raise ConnectionLost(f"the connection to {self.address} is closed")
        request = SessionRequest(request_id=1, batches=batches)
        timeout_s = max(0.001, min(timeout_s, self.config.stall_s))
        try:
            future = self._execute.future(request, timeout=timeout_s)
        except ValueError as error:  # the channel has been closed
            raise ConnectionLost(f"{self.address}: {error}") from None
        return _Exchange(self, future, len(batches))

    def exchange(
        self, batches: Sequence[OpBatch], timeout_s: float, size_bytes: int | None = None
    ) -> list[BatchResult]:
        """`begin`, and waits for the results."""
        return self.begin(batches, timeout_s, size_bytes).result()

    def take_back(self) -> list[Row]:
        """Has those that wait for partitions that have moved try again where they are now."""
        with self._lock:
            moved = [row for row in self._rows + self._again if not self.belongs(row[2])]
            self._rows[:] = [row for row in self._rows if self.belongs(row[2])]
            self._again[:] = [row for row in self._again if self.belongs(row[2])]
            self._finish(moved, NOT_SENT, "the partition has moved")
        return []

    def push(self, rows: Sequence[Row]) -> None:
        raise AssertionError("take_back returns nothing to push")

    def bounce(self, row: Row) -> None:
        raise AssertionError("take_back returns nothing to bounce")

    def drain(self) -> None:
        """Calls under way end by themselves, in their own threads."""

    def close(self) -> None:
        """What waits fails; a call that is on its way ends when its channel is closed."""
        with self._lock:
            self.closed = True
            waiting = self._rows + self._again
            self._rows.clear()
            self._again.clear()
            self._finish(waiting, CLOSED, f"the connection to {self.address} was closed")

    def reason(self, error: grpc.RpcError) -> Exception:
        """An RPC's failure as one of ours: what was done, as far as it can be known."""
        message = f"{self.address} did not answer ({describe(error)})"
        if is_too_large(error):
            return TooLarge(message)
        if _never_sent(error):
            return ConnectionLost(message)
        return OutcomeUnknown(message)

    # Followers.

    def _leave(self, row: Row) -> Failure | None:
        """A follower's time has run out. None: it has been served, or given the lead, after all."""
        waiter: Waiter = row[0]
        with self._lock:
            if waiter.outcome is not None:
                return None
            if waiter.leads:
                # It must pass on the lead, and will find that it has no time left.
                return None
            for rows in (self._rows, self._again):
                if any(other is row for other in rows):
                    rows[:] = [other for other in rows if other is not row]
                    return late(row)
            waiter.gone = True
        session, number = row[10] or (None, 0)
        maybe = row[1] in WRITES
        return Failure(DEADLINE, "no answer came in time", {}, maybe, session, number)

    def _finish(self, rows: Sequence[Row], code: int, message: str) -> None:
        """Ends rows that were not sent. Called with the lock held, as is `_give`."""
        for row in rows:
            self._give(row[0], unsent(row, code, message))

    def _give(self, waiter: Waiter, outcome: Outcome | Failure) -> None:
        if waiter.gone or waiter.outcome is not None:
            if isinstance(outcome, Failure) and outcome.session is not None:
                with self._guard:
                    outcome.session.answered(outcome.number, outcome.number + 1)
            return
        waiter.outcome = outcome
        waiter.wake()

    # The leader.

    def _lead(self, own: Waiter, deadline: float) -> None:
        """Sends frames until the leader's own call is answered, then passes on the lead."""
        try:
            while own.outcome is None:
                packed = self._take()
                if not packed:
                    continue
                self._carry(packed, deadline)
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        with self._lock:
            waiting = self._again or self._rows
            if waiting:
                heir: Waiter = waiting[0][0]
                heir.leads = True
                heir.wake()
            else:
                self._leaders -= 1

    def _take(self) -> list[Packed]:
        """The next frame, as batches of one session each."""
        now = runtime.monotonic()
        table = self.routes.table
        packed: list[Packed] = []
        with self._lock:
            in_frame = 0
            if self._again:
                again, _, in_frame = self._limited(self._again, in_frame)
                with self._guard:
                    packed += pack_again(again, self._sessions, table, now)
            if self._rows:
                rows, columns, in_frame = self._limited(self._rows, in_frame)
                if rows:
                    with self._guard:
                        self._budget.deposit(len(rows))
                        packed.append(pack_new(rows, columns, self._sessions, table, now))
        return packed

    def _limited(self, rows: list[Row], in_frame: int) -> tuple[list[Row], Columns, int]:
        """Takes from `rows` what fits the frame."""
        config = self.config
        taken = rows[: config.frame_ops_max]
        columns = columns_of(taken)
        total = in_frame + size_bytes(columns)
        if total > config.frame_bytes_max:
            total, place = in_frame, 0
            for place, row in enumerate(taken):
                row_bytes = len(row[4]) + len(row[5])
                if total and total + row_bytes > config.frame_bytes_max:
                    taken = taken[:place]
                    break
                total += row_bytes
            columns = columns_of(taken)
        del rows[: len(taken)]
        return taken, columns, total

    def _carry(self, packed: list[Packed], deadline: float) -> None:
        request = SessionRequest(request_id=1, batches=[one.batch for one in packed])
        left_s = deadline - runtime.monotonic()
        timeout_s = max(0.001, min(left_s, self.config.stall_s))
        try:
            response: SessionResponse = self._execute(request, timeout=timeout_s)
        except grpc.RpcError as error:
            self._fail(packed, self.reason(error))
            return
        except ValueError as error:  # the channel has been closed
            self._fail(packed, ConnectionLost(f"{self.address}: {error}"))
            return
        except BaseException:
            self._fail(packed, OutcomeUnknown("the call was interrupted"))
            raise
        self.frames += 1
        if response.HasField("route"):
            self.routes.offer(response.route)
        if len(response.results) != len(packed):
            self._fail(packed, OutcomeUnknown(f"{self.address} gave a garbled answer"))
            return
        for one, result in zip(packed, response.results, strict=True):
            self._settle(one, result)

    def _settle(self, packed: Packed, result: BatchResult) -> None:
        try:
            with self._guard:
                given = list(outcomes(packed, result))
        except GarbledAnswer as error:
            self._fail([packed], OutcomeUnknown(f"{self.address}: {error}"))
            return
        with self._lock:
            for waiter, outcome in given:
                self._give(waiter, outcome)

    def _fail(self, packed: list[Packed], error: Exception) -> None:
        code: int = ResultCode.OUTCOME_UNKNOWN
        if isinstance(error, ConnectionLost):
            code = NOT_SENT
        elif isinstance(error, TooLarge):
            code = ResultCode.VALUE_TOO_LARGE
        maybe = isinstance(error, OutcomeUnknown | TooLarge)  # the answer may have been too large
        with self._lock:
            for one in packed:
                for index, waiter in enumerate(one.waiters):
                    self._give(waiter, one.failure(index, code, str(error), maybe=maybe))


def _never_sent(error: grpc.RpcError) -> bool:
    """Whether the call failed before there was a connection to send it on."""
    code = getattr(error, "code", None)
    details = getattr(error, "details", None)
    if not callable(code) or code() is not grpc.StatusCode.UNAVAILABLE or not callable(details):
        return False
    return "failed to connect to all addresses" in (details() or "")
