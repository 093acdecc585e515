"""The answer of the Route RPC: the partition table and the declared spaces, as columns.

Made from what a TableKeeper knows, by units and routers alike, and kept until that changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from tupelo.codec import DECODE_ERRORS
from tupelo.errors import CommandFailed
from tupelo.schema import encode_schema
from tupelo.v1.data_pb2 import RouteRequest, RouteResponse, SpaceInfo

from tupelo_grid.coordinator.keeper import GridState
from tupelo_grid.core.table import PartitionState

COMMAND_INFO_PREFIX: Final = "command:"
"""A command is a SpaceInfo of this name + its own; its `schema` is a CommandInfo as JSON."""


class CommandInfo(msgspec.Struct, frozen=True):
    """What units write at `command/<name>` in the state store, as JSON.

    Attributes:
        route: names of the arguments whose values decide the partition; one is the routing value
            itself, several make an array of them.
        read_only: it writes nothing and takes no token.
    """

    route: tuple[str, ...]
    read_only: bool = False


def decode_command(name: str, data: bytes) -> CommandInfo:
    """Raises CommandFailed when a unit of another version wrote something else."""
    try:
        return msgspec.json.decode(data, type=CommandInfo)
    except DECODE_ERRORS as error:
        raise CommandFailed(
            f"what the grid knows of command {name!r} cannot be read: {error}; is the unit that "
            "declares it of the same version of tupelo?"
        ) from None


def build_route(state: GridState) -> RouteResponse:
    """Every incarnation in the table, and every unfenced lease, is a unit of the answer.

    A primary whose lease is gone has the address "", which clients take for no primary.
    """
    partitions = state.partitions
    parts = state.table.parts
    members = {name for part in parts.values() for name in part.config.in_sync}
    members.update(part.config.primary for part in parts.values() if part.config.primary)
    members.update(name for name, lease in state.leases.items() if not lease.fenced)
    incarnations = sorted(members)
    places = {name: index + 1 for index, name in enumerate(incarnations)}
    # One byte a replica on the wire.
    if len(incarnations) > 255:
        raise OverflowError(f"{len(incarnations)} units; the table has room for 255")
    configs = [parts[number].config if number in parts else None for number in range(partitions)]
    return RouteResponse(
        grid_id=state.grid_id,
        table_version=state.table.version,
        partitions=partitions,
        incarnations=incarnations,
        addresses=[
            state.leases[name].address if name in state.leases else "" for name in incarnations
        ],
        primaries=[places.get(config.primary, 0) if config else 0 for config in configs],
        epochs=[config.epoch if config else 0 for config in configs],
        in_sync=[
            bytes(places[name] for name in config.in_sync) if config else b"" for config in configs
        ],
        spaces=_infos(state),
        lost=[
            number
            for number, config in enumerate(configs)
            if config and config.state is PartitionState.LOST
        ],
    )


def _infos(state: GridState) -> list[SpaceInfo]:
    spaces = [
        SpaceInfo(name=name, schema=encode_schema(schema))
        for name, schema in sorted(state.spaces.items())
    ]
    commands = [
        SpaceInfo(name=COMMAND_INFO_PREFIX + name, schema=info)
        for name, info in sorted(state.commands.items())
    ]
    return spaces + commands


class RouteCache:
    """`build_route` of the newest state, made once a state.

    Args:
        source: gives the newest state, e.g. `lambda: keeper.state`.
        wall_ms: Unix time.
    """

    def __init__(self, source: Callable[[], GridState], wall_ms: Callable[[], int]) -> None:
        self._source = source
        self._wall_ms = wall_ms
        self._state: GridState | None = None
        self._response = RouteResponse()

    def response(self) -> RouteResponse:
        """Not to be changed by the caller."""
        state = self._source()
        if state is not self._state:
            self._response = build_route(state)
            self._state = state
        return self._response

    def answer(self, request: RouteRequest) -> RouteResponse:
        """Without the table, but with the spaces, where the client knows the newest version; with
        the time, by which clients date their sessions."""
        response, answer = self.response(), RouteResponse(time_ms=self._wall_ms())
        if request.known_version and request.known_version == response.table_version:
            answer.grid_id, answer.table_version = response.grid_id, response.table_version
            answer.spaces.extend(response.spaces)
        else:
            answer.MergeFrom(response)
        return answer
