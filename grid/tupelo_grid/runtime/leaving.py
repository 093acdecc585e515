"""What a unit that stops leaves at the state store: which of its partitions are in the data store.

Three marks, for three questions. `drained/<incarnation>`: the store has all that it will ever have
of these; when every partition is named so, the grid as a whole may be taken down and loaded again
(take_down). `stored/<incarnation>`: nothing at all that was acknowledged is missing there, so that
each of these may be loaded again by itself, in a grid that goes on, if no other copy is left.
`empty/<incarnation>`: nothing was ever written to these, so that there is nothing to load either.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import grpc.aio
from tupelo.schema import SpaceSchema
from tupelo.v1 import admin_pb2, admin_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.primary import Primary
from tupelo_grid.core.records import NOOP
from tupelo_grid.core.table import DRAINED_PREFIX, EMPTY_PREFIX, STORED_PREFIX, encode_drained
from tupelo_grid.core.unit import Unit
from tupelo_grid.runtime.servers import open_channel

log = logging.getLogger(__name__)


async def last_words(
    config: GridConfig, unit: Unit, schemas: Mapping[str, SpaceSchema], drained: bool
) -> dict[str, bytes]:
    """The marks of a unit that answers nothing any more. `drained`: the store has all it can."""
    puts: dict[str, bytes] = {}
    ready = {number: one for number, one in unit.primaries.items() if one.ready}
    if drained:
        epochs = {number: one.epoch for number, one in ready.items()}
        puts[f"{DRAINED_PREFIX}{unit.me}"] = encode_drained(epochs)
        empty = {number: one.epoch for number, one in ready.items() if is_empty(one.partition)}
        if empty:
            puts[f"{EMPTY_PREFIX}{unit.me}"] = encode_drained(empty)
    stored = {number: one.epoch for number, one in ready.items() if is_stored(one, schemas)}
    # What is on a disk comes back from there.
    if stored and config.durability == "memory" and await _no_letters(config):
        puts[f"{STORED_PREFIX}{unit.me}"] = encode_drained(stored)
    return puts


def is_empty(partition: Partition) -> bool:
    """Whether nothing was ever written to it: its journal is whole, and has only no-ops in it."""
    journal = partition.journal
    if journal.base or partition.spilled is not None or partition.entries():
        return False
    return all(record[0] == NOOP for record in journal.read(0, journal.last))


def is_stored(primary: Primary, schemas: Mapping[str, SpaceSchema]) -> bool:
    """Whether the partition made of the store's rows is the one that there is here.

    Not when it has entries of a space that is not stored, or of one that is not known.
    """
    partition = primary.partition
    if partition.persisted < partition.commit:
        return False
    held = [name for name, entries in partition.spaces.items() if entries]
    return all(name in schemas and schemas[name].persist for name in held)


async def _no_letters(config: GridConfig) -> bool:
    """Whether the store has every change in its place. A dead letter is one that it has not: there,
    an entry would come back older than it was. Asked after the last change was sent."""
    async with open_channel(config, config.messaging_address) as channel:
        stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
        request = admin_pb2.DeadLettersRequest(limit=1)
        try:
            answer = await stub.ListDeadLetters(request, timeout=config.rpc_timeout_s)
        except grpc.aio.AioRpcError as error:
            log.warning("it is not known whether there are dead letters: %s", error.code().name)
            return False
    return not answer.count
