"""Whether an operation may run: known names, known sessions, enough replicas, enough room."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
from tupelo.errors import ResultCode

from tupelo_grid.core import batch as kinds_of
from tupelo_grid.core.commands import CommandRunner
from tupelo_grid.core.dedupe import Remembered
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import SESSION_EVICT, Mutation, Result
from tupelo_grid.core.table import PartitionState, Versioned

OK = int(ResultCode.OK)


class Refusal(NamedTuple):
    """Why an operation is not carried out."""

    code: int
    message: str = ""
    fields: Mapping[str, object] = {}


def not_served(number: int, versioned: Versioned | None, loading: bool, changing: bool) -> Refusal:
    """Why a unit does not serve a partition of which it knows that configuration."""
    if versioned is not None and versioned.config.state is PartitionState.LOST:
        return Refusal(
            ResultCode.PARTITION_LOST,
            f"partition {number} is lost: none of its in-sync replicas is alive; it returns "
            "when one of them does, or when an operator forces a promotion",
        )
    if loading:
        return Refusal(ResultCode.NOT_READY, f"partition {number} is loaded from the store")
    if changing:
        return Refusal(ResultCode.NOT_READY, f"partition {number} is changing its primary")
    return Refusal(ResultCode.WRONG_OWNER, f"partition {number} is not served by this unit")


class Admission:
    """`overloaded`: why no write is taken at the moment; "" when they are. `spilled`: spaces whose
    writes are taken all the same, as older ones go to files for them."""

    def __init__(
        self, space_ttls: Mapping[str, int], runner: CommandRunner, limits: Limits
    ) -> None:
        self.space_ttls = space_ttls
        self.runner = runner
        self.limits = limits
        self.overloaded = ""
        self.spilled: Collection[str] = ()

    def watch(self, journal_bytes: int, behind: Callable[[], str]) -> None:
        """Takes writes only while the unit's journals are within their bound. `behind` says how far
        the store is behind, and why."""
        self.overloaded = ""
        if journal_bytes > self.limits.journal_bytes_max:
            self.overloaded = (
                f"the journals hold {journal_bytes} bytes, more than journal_bytes_max="
                f"{self.limits.journal_bytes_max}: {behind()}; writes go on when it has caught up"
            )

    def unknown(self, name: str, kind: int) -> Refusal | None:
        if kind in (kinds_of.CALL, kinds_of.CALL_READ_ONLY):
            if self.runner.knows(name):
                return None
            return Refusal(
                ResultCode.UNKNOWN_COMMAND,
                f"no processing unit declares the command {name!r}; check its name, and that "
                "the unit's folder is loaded",
            )
        if name in self.space_ttls:
            return None
        return Refusal(
            ResultCode.UNKNOWN_SPACE,
            f"the space {name!r} does not exist; declare it in a processing unit or create it",
        )

    def admit(
        self, primary: Primary, session: int, op_number: int, space: str = ""
    ) -> Refusal | Result | None:
        """None: run it. A result: it ran before, and this was the answer.

        `space`: that is written; "": what a command writes is known when it has run.
        """
        partition = primary.partition
        state = partition.sessions.states.get(session)
        if state is not None:
            known = state.results.get(op_number)
            if known is not None:
                return self._remembered(primary, known, space)
            if op_number < state.floor:
                return Refusal(
                    ResultCode.STALE_TOKEN,
                    f"operation {op_number} of this session was answered before; it is not run "
                    "again",
                )
        elif session <= partition.sessions.evicted_through:
            return self._expired(partition)
        elif len(partition.sessions.states) >= self.limits.sessions_max:
            self._evict(primary)
        return self.overload(primary, space)

    @staticmethod
    def _remembered(primary: Primary, known: Remembered, space: str) -> Refusal | Result:
        """The answer of what ran before. A retry gets it when there are as many copies as its write
        takes: it may have been committed with fewer, and nobody was told that it is done then."""
        if isinstance(known, int):
            sequence, result = known, (OK, known, b"")
        else:
            sequence, result = known
            if result[0] == OK:  # of a command, whose version is that of its record
                result = (OK, sequence, result[2])
        short = primary.short_of(space, sequence)
        return Refusal(ResultCode.OUTCOME_UNKNOWN, short) if short else result

    def overload(self, primary: Primary, space: str = "") -> Refusal | None:
        """Why no write of the space is taken in the partition at the moment; None: they are. "":
        of any space."""
        if not primary.writable:
            minimums = primary.minimums
            refusal = _too_few(primary, minimums.of(space) if space else minimums.least)
            if refusal is not None:
                return refusal
        if self.overloaded and not self.spilled:
            return Refusal(ResultCode.OVERLOADED, self.overloaded)
        pipeline = primary.partition.journal.last - primary.partition.commit
        if pipeline >= self.limits.pipeline_records_max:
            return Refusal(
                ResultCode.OVERLOADED,
                f"partition {primary.number} has {pipeline} unacknowledged records",
            )
        return None

    def spills(self, names: Iterable[str]) -> bool:
        """Whether writes to all of these are taken, although there is no room for others."""
        return bool(self.spilled) and all(name in self.spilled for name in names)

    def unspilled(self, mutations: Iterable[Mutation]) -> Refusal | None:
        """Why what was admitted is not taken now that its spaces are known; None: it is."""
        if self.overloaded and not all(mutation[0] in self.spilled for mutation in mutations):
            return Refusal(ResultCode.OVERLOADED, self.overloaded)
        return None

    @staticmethod
    def too_few(primary: Primary, written: Iterable[str]) -> Refusal | None:
        """Why a command that wrote to these spaces is not carried out; None: it is."""
        return _too_few(primary, primary.minimums.of_all(written))

    @staticmethod
    def _expired(partition: Partition) -> Refusal:
        above = partition.sessions.evicted_through
        message = "the client session was evicted, as newer ones were active; open a new one"
        return Refusal(ResultCode.SESSION_EXPIRED, message, {"session_above": above})

    def _evict(self, primary: Primary) -> None:
        oldest = primary.partition.sessions.oldest(max(1, self.limits.sessions_max // 8))
        result = (OK, 0, msgspec.msgpack.encode(oldest))
        primary.append((SESSION_EVICT, 0, 0, 0, result, ()))


def _too_few(primary: Primary, want: int) -> Refusal | None:
    have = len(primary.config.in_sync)
    if have >= want:
        return None
    return Refusal(
        ResultCode.NOT_ENOUGH_REPLICAS,
        f"partition {primary.number} has {have} of the {want} in-sync replicas that this write "
        "takes; redundancy is being restored",
    )
