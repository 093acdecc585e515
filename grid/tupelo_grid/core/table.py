"""What the state store holds, and the partition table made from it.

Keys of the state store (values are JSON):

    grid                    GridInfo, written once when the grid is created
    part/<p>                PartitionConfig, p in decimal
    lease/<incarnation>     Lease
    drained/<incarnation>   {partition: epoch}: it stopped as their primary, all in the store
    stored/<incarnation>    likewise, and nothing acknowledged is anywhere else
    empty/<incarnation>     likewise, and nothing was ever written to them
    space/<name>            tupelo.schema.SpaceSchema
    command/<name>          what a processing unit says of its command
    next_incarnation        decimal counter

A partition's configuration changes only by compare-and-swap on its revision. The version of the
whole table is the highest revision of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

GRID_KEY = "grid"
PART_PREFIX = "part/"
LEASE_PREFIX = "lease/"
DRAINED_PREFIX = "drained/"
STORED_PREFIX = "stored/"
EMPTY_PREFIX = "empty/"
SPACE_PREFIX = "space/"
COMMAND_PREFIX = "command/"
NEXT_INCARNATION_KEY = "next_incarnation"

FENCED = "fenced"
SPACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")

# What decoding a key or value raises that nobody of us has written.
MALFORMED = (ValueError, msgspec.DecodeError, RecursionError)


class GridInfo(msgspec.Struct, frozen=True):
    """What a grid is.

    `epoch_base`: partitions begin with the epoch above it. After a clean shutdown, when every entry
    is in the store and the table is taken down, it holds the highest epoch there was; above 0, new
    partitions are loaded from the store. Unless it is `empty`: then nothing was ever written to any
    of them, the store may never have heard of the grid, and they begin as in a new grid.

    `grid_id` is 16 random bytes in hex, made once; `format`: the version of these structures.
    """

    grid_id: str
    partitions: int
    backups: int = 1
    min_in_sync: int = 1
    format: int = 1
    epoch_base: int = 0
    empty: bool = False


class PartitionState(StrEnum):
    OK = "OK"
    LOST = "LOST"  # every in-sync incarnation is dead; stays so until one returns or is forced


class PartitionConfig(msgspec.Struct, frozen=True):
    """Who holds a partition. Incarnations everywhere, never unit names.

    Attributes:
        epoch: rises by one at each change of primary, and only then.
        primary: serves the partition; always in `in_sync`. "" when the partition is LOST.
        in_sync: the replicas that hold every acknowledged change, primary included.
        learner: being brought in sync by the primary; "" for none.
        next_primary: advice: the primary should hand over to it once it is in sync; "" for none.
        leaving: advice: the primary should take it out of the in-sync set; "" for none.
        load: the entries are in the store only; the primary must load them before it serves, and
            clears the mark before its first answer.
        behind: of a LOST partition, members that came back from a disk which may lack the newest
            records, each with the epoch and sequence of the last it has.
    """

    epoch: int
    primary: str
    in_sync: tuple[str, ...]
    learner: str = ""
    next_primary: str = ""
    leaving: str = ""
    load: bool = False
    state: PartitionState = PartitionState.OK
    behind: tuple[tuple[str, int, int], ...] = ()


class Lease(msgspec.Struct, frozen=True):
    """A unit's sign of life. `nonce` is fresh at every renewal, or FENCED when it was deposed.

    `draining`: the unit asks the controller to move everything away from it.
    """

    unit: str
    address: str
    replication_address: str
    nonce: str
    zone: str = ""
    draining: bool = False

    @property
    def fenced(self) -> bool:
        return self.nonce == FENCED


def part_key(partition: int) -> str:
    return f"{PART_PREFIX}{partition}"


def lease_key(incarnation: str) -> str:
    return f"{LEASE_PREFIX}{incarnation}"


def space_key(name: str) -> str:
    return f"{SPACE_PREFIX}{name}"


def incarnation_of(unit: str, number: int) -> str:
    """An incarnation's name; unit names must not contain '#'."""
    return f"{unit}#{number}"


def unit_of(incarnation: str) -> str:
    return incarnation.rpartition("#")[0]


def command_key(name: str) -> str:
    return f"{COMMAND_PREFIX}{name}"


class Versioned(msgspec.Struct, frozen=True):
    """A partition's configuration with the revision it was read at."""

    config: PartitionConfig
    revision: int


class PartitionTable(msgspec.Struct, frozen=True):
    """The table as of some reads; `version` is the highest revision seen."""

    version: int
    parts: Mapping[int, Versioned]

    def merge(self, parts: Mapping[int, Versioned]) -> PartitionTable:
        """With `parts` where they are newer than what is known."""
        merged = dict(self.parts)
        version = self.version
        for partition, versioned in parts.items():
            known = merged.get(partition)
            if known is None or known.revision < versioned.revision:
                merged[partition] = versioned
                version = max(version, versioned.revision)
        return PartitionTable(version, merged)


_config_decoder = msgspec.json.Decoder(PartitionConfig)
_lease_decoder = msgspec.json.Decoder(Lease)
_grid_decoder = msgspec.json.Decoder(GridInfo)


def encode(value: PartitionConfig | Lease | GridInfo) -> bytes:
    return msgspec.json.encode(value)


def decode_config(data: bytes) -> PartitionConfig:
    return _config_decoder.decode(data)


def decode_lease(data: bytes) -> Lease:
    return _lease_decoder.decode(data)


def encode_drained(epochs: Mapping[int, int]) -> bytes:
    return msgspec.json.encode(epochs)


def decode_drained(data: bytes) -> dict[int, int]:
    return msgspec.json.decode(data, type=dict[int, int])


def decode_grid(data: bytes) -> GridInfo:
    return _grid_decoder.decode(data)
