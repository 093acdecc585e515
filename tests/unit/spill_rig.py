"""Three units that spill, on a perfect network, with files that do what they are told."""

from __future__ import annotations

from collections.abc import Iterator

from tupelo_grid.core import batch as kinds
from tupelo_grid.core.batch import Pending
from tupelo_grid.core.limits import Limits
from tupelo_grid.core.partition import Partition
from tupelo_grid.core.pump_source import UnitPumpSource
from tupelo_grid.core.records import Record
from tupelo_grid.core.spill import Spill
from tupelo_grid.core.spilling_unit import SpillingUnit
from tupelo_grid.core.tail import decode_records, encode_records

from tests.unit.test_core_unit import Cluster, CountingCommands, one

BOUND = 20_000
VALUE = b"v" * 260  # 501 bytes a record, with its key
SPACES = {"default": 0, "kept": 0}


class Files:
    """Does what a unit's spill wants, when told to."""

    def __init__(self, spill: Spill) -> None:
        self.spill = spill
        self.held: dict[int, bytes] = {}
        self.last = 0
        self.reads = 0
        self.error = ""

    def write(self, most: int = 1000) -> int:
        """How many extents were written."""
        count = 0
        while count < most and (writes := self.spill.collect()):
            if self.error:
                self.spill.not_written(writes, self.error)
                return count
            for write in writes:
                payload = write.extent.payload
                data = encode_records(write.records) if payload is None else payload
                self.last += 1
                self.held[self.last] = data
                self.spill.written(write, self.last, len(data))
                count += 1
        for file in self.spill.take_deletes():
            del self.held[file]
        return count

    def read(self) -> None:
        for read in self.spill.take_reads():
            self.reads += 1
            payload = read.extent.payload
            found = self.held[read.extent.file] if payload is None else payload
            if read.ready is not None:
                self.spill.fetched(read, found)
            else:
                self.spill.decoded(read, decode_records(found))


class Spilling(Cluster):
    """Three units whose space "default" spills, and "kept" does not."""

    def __init__(self, bytes_max: int = 1 << 30) -> None:
        self.files: dict[str, Files] = {}
        self._bytes_max = bytes_max
        super().__init__(["a#1", "b#2", "c#3"], partitions=1)

    def make(self, name: str) -> SpillingUnit:
        limits = Limits(journal_bytes_max=BOUND)
        unit = SpillingUnit(name, self.clock, limits, CountingCommands(), SPACES, self._bytes_max)
        unit.spill.spaces = frozenset({"default"})
        self.files[name] = Files(unit.spill)
        return unit

    def held(self, name: str) -> Partition:
        return self.units[name].replicas[0]

    def put(self, op: int, target: str = "default", value: bytes = VALUE) -> Pending:
        key = b"k%d" % (op % 40)
        return self.run(0, one(kinds.PUT, 0, key=key, value=value, op=op, target=target))

    def turn(self) -> None:
        """Two ticks with the files in between, so that memory lets go of what was written."""
        self.tick()
        for files in self.files.values():
            files.write()
            files.read()
        self.settle()
        self.tick()

    def fill(self, first: int, last: int) -> None:
        for op in range(first, last):
            assert self.put(op).codes[0] == 0, f"put {op} was refused: {self.put(op).errors}"
            if op % 5 == 0:
                self.turn()


def stored(cluster: Spilling, name: str, after: int) -> Iterator[tuple[int, Record]]:
    """As the pump reads: again where nothing was there yet."""
    source = UnitPumpSource(cluster.units[name])
    while after < source.committed(0):
        found = source.read(0, after, 7)
        if not found:
            cluster.turn()
            cluster.files[name].read()
            found = source.read(0, after, 7)
            assert found, f"nothing behind {after}"
        yield from found
        after = found[-1][0]
