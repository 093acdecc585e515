"""Operation numbers: what makes a retry safe.

A client numbers its writes within a session; a primary remembers the answers of a session's numbers
from `acked_below` on, and a window of them. Pure bookkeeping: identifiers come from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SESSION_RANDOM_BITS: Final = 36
SESSION_PERIOD_MS: Final = 16_000
_JOIN_ABOVE: Final = 4096
# 16 steps make up a period, one for each of its seconds.
SESSION_STEP_BITS: Final = SESSION_RANDOM_BITS - 4
_STEP_MASK: Final = (1 << SESSION_STEP_BITS) - 1


def session_id(unix_ms: int, random_bits: int) -> int:
    """A 64-bit session id: 28 bits of time in periods of 16 s, then 36 random bits.

    Two clients with one id would be taken for one. Time need only be coarse (it decides who is
    refused after evictions), so chance gets most of the bits: among 1,000 clients that start within
    one period, two draw the same id in 7 of a million cases.
    """
    mask = (1 << SESSION_RANDOM_BITS) - 1
    period = unix_ms // SESSION_PERIOD_MS
    return (period << SESSION_RANDOM_BITS | (random_bits & mask)) & (1 << 64) - 1


class Session:
    """The numbers of one session.

    `acked_below` is the lowest number that has no answer yet. Numbers are answered as ranges, since
    those of one frame come back together: a set of finished ranges above the floor is cheaper than
    a set of numbers.
    """

    __slots__ = ("_ahead", "_join_above", "_next", "acked_below", "id", "window")

    def __init__(self, session: int, window: int) -> None:
        self.id = session
        self.window = window
        self.acked_below = 1
        self._next = 1
        self._ahead: dict[int, int] = {}
        self._join_above = _JOIN_ABOVE

    @property
    def unanswered(self) -> int:
        """Numbers from the floor to the newest; finished ones between them included."""
        return self._next - self.acked_below

    def reserve(self, count: int) -> int:
        """The first of `count` new numbers in a row; 0 when the window has no room for them."""
        first = self._next
        if first + count - self.acked_below > self.window:
            return 0
        self._next = first + count
        return first

    def answered(self, first: int, stop: int) -> None:
        """Numbers first..stop-1 have their answer, or nobody waits for it any more."""
        ahead = self._ahead
        if first > self.acked_below:
            ahead[first] = max(stop, ahead.get(first, 0))
            if len(ahead) > self._join_above:
                self._join()
            return
        floor = max(stop, self.acked_below)
        while ahead:
            following = ahead.pop(floor, 0)
            if not following:
                break
            floor = following
        self.acked_below = floor
        if floor == self._next:
            ahead.clear()

    def _join(self) -> None:
        """Joins ranges that touch, and drops what lies in or below others."""
        joined: dict[int, int] = {}
        last, last_stop = 0, 0
        for first, stop in sorted(self._ahead.items()):
            if stop <= self.acked_below:
                continue
            if joined and first <= last_stop:
                last_stop = max(last_stop, stop)
            else:
                last, last_stop = first, stop
            joined[last] = last_stop
        self._ahead = joined
        self._join_above = max(_JOIN_ABOVE, 2 * len(joined))


class Sessions:
    """The session that new operations are numbered in, and how it is followed by another.

    A single operation that stays unanswered would hold up all others once the window is full, so
    they go on under a new session instead, and it keeps its own.
    """

    __slots__ = ("_make_id", "current", "window")

    def __init__(self, make_id: Callable[[], int], window: int) -> None:
        self._make_id = make_id
        self.window = window
        self.current = Session(make_id(), window)

    def reserve(self, count: int) -> tuple[Session, int]:
        """A session and the first of `count` new numbers in it. `count` must fit a window."""
        session = self.current
        first = session.reserve(count)
        if not first:
            assert 0 < count <= self.window
            session = self.renew(session.id)
            first = session.reserve(count)
        return session, first

    def renew(self, above: int) -> Session:
        """Begins a session with an id above `above`, unless the current one's is already."""
        if self.current.id <= above:
            fresh = self._make_id()
            if fresh <= above:
                # Others are refused at the same moment: chance keeps their new ids apart from ours.
                fresh = above + 1 + (fresh & _STEP_MASK)
            self.current = Session(fresh, self.window)
        return self.current
