"""The state store made anew from what running units hold, after its file was lost. Pure.

A unit's view may be behind what the store had, so little of it is taken on trust. The truth about a
partition is what its primary of the highest epoch acts on, and even that only while every member of
its in-sync set runs and knows of no later epoch: one that does not run may have been promoted
since, and may have taken changes that nobody else has. Such a partition is left LOST, with its most
advanced replica as learner, so that it keeps what it has until an operator decides.

Control must be down for good, or decisions would be made that are not seen here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tupelo_grid.core.statestore import KeyValue
from tupelo_grid.core.table import (
    COMMAND_PREFIX,
    GRID_KEY,
    LEASE_PREFIX,
    NEXT_INCARNATION_KEY,
    PART_PREFIX,
    SPACE_PREFIX,
    GridInfo,
    PartitionConfig,
    PartitionState,
    decode_config,
    decode_grid,
    decode_lease,
    encode,
    lease_key,
    part_key,
)
from tupelo_grid.core.view import holders, number_of

# What was given out and is not seen any more lies below these: revisions of the store by far,
# since every renewal of a lease takes one.
REVISION_MARGIN = 1 << 32
INCARNATION_MARGIN = 1000
EPOCH_MARGIN = 1000
# Stands in an in-sync set for members that are not known; no process ever has the number 0.
NOBODY = "unknown#0"


class RebuildRefused(ValueError):
    """It cannot be done safely; the text says why."""


@dataclass(frozen=True, slots=True)
class Held:
    """A replica in a running unit.

    Attributes:
        epoch: the highest that the unit knows of the partition.
        last, last_epoch: of its newest record.
        config: what it acts on as primary; None where it is not.
        swap: what it has asked the store for without knowing the outcome.
    """

    epoch: int
    last: int = 0
    last_epoch: int = 0
    config: PartitionConfig | None = None
    swap: PartitionConfig | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one running unit holds, and the store's keys as it last saw them."""

    incarnation: str
    held: Mapping[int, Held]
    known: Mapping[str, KeyValue]


@dataclass(slots=True)
class Rebuilt:
    """All entries get `revision`. `lost`: by partition, why it could not be taken over."""

    entries: dict[str, bytes]
    revision: int
    lost: dict[int, str] = field(default_factory=dict)


def rebuild(reports: Sequence[Report]) -> Rebuilt:
    """From the reports of all units that run. Raises RebuildRefused."""
    if not reports:
        raise RebuildRefused("no unit runs that could say what there was")
    newest = _newest(reports)
    grid = _grid(reports, newest)
    running = {report.incarnation for report in reports}
    rebuilt = Rebuilt({GRID_KEY: encode(grid)}, _highest_revision(reports) + REVISION_MARGIN)
    for key, entry in newest.items():
        if key.startswith((SPACE_PREFIX, COMMAND_PREFIX)):
            rebuilt.entries[key] = entry.value
    for incarnation in sorted(running):
        rebuilt.entries[lease_key(incarnation)] = _lease(incarnation, newest)
    seen = set(running) | {
        key[len(LEASE_PREFIX) :] for key in newest if key.startswith(LEASE_PREFIX)
    }
    for number in range(grid.partitions):
        views = _views(reports, number)
        if not views:
            raise RebuildRefused(f"no running unit knows who holds partition {number}")
        config, reason = _partition(reports, number, views, running)
        if reason:
            rebuilt.lost[number] = reason
        rebuilt.entries[part_key(number)] = encode(config)
        for view in views:
            seen |= holders(view)
    above = max(number_of(incarnation) for incarnation in seen) + INCARNATION_MARGIN
    rebuilt.entries[NEXT_INCARNATION_KEY] = str(above).encode()
    return rebuilt


def _newest(reports: Sequence[Report]) -> dict[str, KeyValue]:
    newest: dict[str, KeyValue] = {}
    for report in reports:
        for key, entry in report.known.items():
            if key not in newest or newest[key].revision < entry.revision:
                newest[key] = entry
    return newest


def _highest_revision(reports: Sequence[Report]) -> int:
    return max(entry.revision for report in reports for entry in report.known.values())


def _grid(reports: Sequence[Report], newest: Mapping[str, KeyValue]) -> GridInfo:
    ids = set()
    for report in reports:
        entry = report.known.get(GRID_KEY)
        if entry is None:
            raise RebuildRefused(f"{report.incarnation} does not know its grid: stop it first")
        ids.add(decode_grid(entry.value).grid_id)
    if len(ids) > 1:
        raise RebuildRefused(f"the units belong to different grids: {', '.join(sorted(ids))}")
    return decode_grid(newest[GRID_KEY].value)


def _lease(incarnation: str, newest: Mapping[str, KeyValue]) -> bytes:
    """As if it had just been renewed: the controller then waits a whole lease for it."""
    entry = newest.get(lease_key(incarnation))
    if entry is None:
        raise RebuildRefused(
            f"the lease of {incarnation} is not known: it has not taken part yet, stop it first"
        )
    return encode(msgspec.structs.replace(decode_lease(entry.value), nonce="rebuilt"))


def _views(reports: Sequence[Report], number: int) -> list[PartitionConfig]:
    """Every configuration of the partition that somebody knows, the newest last."""
    found: list[tuple[int, int, PartitionConfig]] = []
    for report in reports:
        entry = report.known.get(f"{PART_PREFIX}{number}")
        if entry is not None:
            config = decode_config(entry.value)
            found.append((config.epoch, entry.revision, config))
    return [config for _, _, config in sorted(found, key=lambda one: one[:2])]


def _partition(
    reports: Sequence[Report],
    number: int,
    views: Sequence[PartitionConfig],
    running: set[str],
) -> tuple[PartitionConfig, str]:
    """The configuration to go on with, and why it is LOST; "" when it is not."""
    held = {r.incarnation: r.held[number] for r in reports if number in r.held}
    epoch = max([*(one.epoch for one in held.values()), *(view.epoch for view in views)])
    acting = {
        name: one.config
        for name, one in held.items()
        if one.config is not None and one.config.epoch == epoch and one.config.primary == name
    }
    if len(acting) == 1:
        [(primary, config)] = acting.items()
        swap = held[primary].swap
        involved = {*config.in_sync, *(swap.in_sync if swap else ())}
        missing = sorted(involved - running)
        if not missing:
            return config, ""
        reason = (
            f"{primary} is its primary, but {', '.join(missing)} of its in-sync set does not run "
            f"and may have replaced it"
        )
        return _lost(epoch, missing, primary), reason
    best = max(held, key=lambda name: (held[name].last_epoch, held[name].last), default="")
    missing = sorted(set(views[-1].in_sync) - running)
    if acting:
        reason = f"{' and '.join(sorted(acting))} both are its primary in epoch {epoch}"
    elif best:
        reason = f"its primary of epoch {epoch} does not run; {best} has the most of it"
    else:
        reason = "nobody who runs has anything of it"
    return _lost(epoch, missing, best), reason


def _lost(epoch: int, missing: Sequence[str], learner: str) -> PartitionConfig:
    """No member that runs may be in the in-sync set: it would be promoted by itself."""
    return PartitionConfig(
        epoch + EPOCH_MARGIN,
        "",
        tuple(missing) or (NOBODY,),
        learner=learner,
        state=PartitionState.LOST,
    )
