"""The partition table as a client sees it: which unit to ask for a partition. Pure, no I/O."""

from __future__ import annotations

import msgspec

from tupelo.errors import InvalidArgument
from tupelo.v1.data_pb2 import RouteResponse


class RouteTable(msgspec.Struct, frozen=True):
    """One version of the table, with the spaces that were declared when it was read.

    Attributes:
        grid_id: 16 bytes; tables of different grids have nothing to do with each other.
        version: rises with every change of the table.
        partitions: number of partitions of the grid.
        addresses: per partition, its primary's "host:port"; "" while there is none.
        epochs: per partition.
        incarnations: of the units in the table.
        spaces: name -> schema as JSON; also "command:<unit.command>" for commands.
        any_write_through: one of the spaces is declared so.
        lost: partitions that have no primary because none of their in-sync replicas is alive.
    """

    grid_id: bytes
    version: int
    partitions: int
    addresses: tuple[str, ...]
    epochs: tuple[int, ...]
    incarnations: tuple[str, ...]
    spaces: dict[str, bytes]
    any_write_through: bool = False
    lost: frozenset[int] = frozenset()

    def address_of(self, partition: int) -> str:
        """Raises InvalidArgument for a partition that the grid does not have."""
        if not 0 <= partition < self.partitions:
            raise InvalidArgument(f"partition {partition} is not one of 0..{self.partitions - 1}")
        return self.addresses[partition]

    def units(self) -> list[str]:
        """Addresses of all primaries, each once, in order of their first partition."""
        return [address for address in dict.fromkeys(self.addresses) if address]


def table_of(response: RouteResponse) -> RouteTable | None:
    """The table in a response; None when it holds none or contradicts itself."""
    partitions = response.partitions
    primaries, epochs = response.primaries, response.epochs
    known = len(response.addresses)
    if not partitions or len(primaries) != partitions or len(epochs) != partitions:
        return None
    if any(index > known for index in primaries) or len(response.incarnations) != known:
        return None
    places = ["", *response.addresses]
    spaces = {space.name: space.schema for space in response.spaces}
    return RouteTable(
        grid_id=response.grid_id,
        version=response.table_version,
        partitions=partitions,
        addresses=tuple(places[index] for index in primaries),
        epochs=tuple(epochs),
        incarnations=tuple(response.incarnations),
        spaces=spaces,
        any_write_through=_any_write_through(spaces),
        lost=frozenset(response.lost),
    )


def merged(known: RouteTable | None, new: RouteTable, *, replace: bool = False) -> RouteTable:
    """The newer of two tables of one grid, with the spaces of both.

    A table of another grid is taken only with `replace`: from a seed, which the user has named.
    """
    if known is None:
        return new
    if known.grid_id != new.grid_id:
        return new if replace else known
    if known.partitions != new.partitions:
        return known
    spaces = known.spaces
    if new.spaces and new.spaces != spaces:
        spaces = {**spaces, **new.spaces}
    # A lease that comes or goes changes addresses without a new version of the table.
    newer = new.version > known.version or (
        new.version == known.version and new.addresses != known.addresses
    )
    newest = new if newer else known
    if newest.spaces is spaces:
        return newest
    return msgspec.structs.replace(
        newest, spaces=spaces, any_write_through=_any_write_through(spaces)
    )


def _any_write_through(spaces: dict[str, bytes]) -> bool:
    return any(b'"write_through":true' in schema for schema in spaces.values())
