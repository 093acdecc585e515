"""The bulk writes of one frame, carried out as one batch.

A thousand entries are some four a partition, and a record costs the same for four as for forty. The
writes that several calls of one client send in a frame are alike but for their entries, so their
groups are put in the order of their partitions here, and the core makes one record of those that
follow one another (core.bulk_runs).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby

from tupelo.v1.data_pb2 import BatchResult

from tupelo_grid.core.batch import GET, Batch, Bulk, BulkOutcome, OpError, Pending
from tupelo_grid.transport.columns import to_result


class Joined:
    """Batches of one session that are nothing but bulk writes of one kind to one space.

    `batch`: all of them as one; `results` makes theirs of its outcome.
    """

    __slots__ = ("_batches", "_order", "batch")

    def __init__(self, batches: Sequence[Batch]) -> None:
        bulks = [bulk for batch in batches if (bulk := batch.bulk) is not None]
        partitions = [number for bulk in bulks for number in bulk.partitions]
        self._batches = batches
        self._order = sorted(range(len(partitions)), key=partitions.__getitem__)
        first = batches[0]
        self.batch = Batch(
            session=first.session,
            acked_below=min([batch.acked_below for batch in batches]),
            kinds=b"",
            partitions=[],
            targets=first.targets,
            target_index=None,
            keys=[],
            values=None,
            op_numbers=None,
            strict=first.strict,
            deadline=max([batch.deadline for batch in batches]),
            bulk=self._in_order(bulks, partitions),
            faults=self._faults(),
        )

    def _in_order(self, bulks: Sequence[Bulk], partitions: Sequence[int]) -> Bulk:
        order = self._order
        counts = [count for bulk in bulks for count in bulk.counts]
        numbers = [number for bulk in bulks for number in bulk.op_numbers]
        from_keys = [key for bulk in bulks for key in bulk.keys]
        from_values = [value for bulk in bulks for value in bulk.values]
        ends = list(accumulate(counts))
        keys: list[bytes] = []
        values: list[bytes] = []
        for group in order:
            end = ends[group]
            entries = slice(end - counts[group], end)
            keys += from_keys[entries]
            values += from_values[entries]
        return Bulk(
            kind=bulks[0].kind,
            space=bulks[0].space,
            partitions=[partitions[group] for group in order],
            counts=[counts[group] for group in order],
            op_numbers=[numbers[group] for group in order],
            keys=keys,
            values=values,
            ttl_ms=bulks[0].ttl_ms,
        )

    def _places(self) -> list[int]:
        """Where each group is in the order."""
        places = [0] * len(self._order)
        for place, group in enumerate(self._order):
            places[group] = place
        return places

    def _faults(self) -> dict[int, tuple[int, str]] | None:
        if not any(batch.faults for batch in self._batches):
            return None
        places = self._places()
        return {
            places[start + group]: fault
            for batch, start in self._starts()
            for group, fault in (batch.faults or {}).items()
        }

    def _starts(self) -> Iterator[tuple[Batch, int]]:
        """Each batch with the number of groups before its own."""
        start = 0
        for batch in self._batches:
            yield batch, start
            start += len(batch.bulk.partitions) if batch.bulk is not None else 0

    def results(self, pending: Pending) -> list[BatchResult]:
        """One for each of the batches."""
        outcome, places = pending.bulk, self._places()
        assert outcome is not None
        whole = BulkOutcome(
            codes=bytearray(map(outcome.codes.__getitem__, places)),
            versions=list(map(outcome.versions.__getitem__, places)),
            values=[],
            epochs=list(map(outcome.epochs.__getitem__, places)),
            copies=bytearray(map(outcome.copies.__getitem__, places)),
        )
        groups = {self._order[error.index]: error for error in pending.errors}
        # Of what is wrong with all of them, one is told; each call is to know.
        reasons = {error.code: error for error in pending.errors}
        results: list[BatchResult] = []
        for batch, start in self._starts():
            one = Pending(batch)
            assert batch.bulk is not None
            end = start + len(batch.bulk.partitions)
            one.bulk = BulkOutcome(
                whole.codes[start:end],
                whole.versions[start:end],
                [],
                whole.epochs[start:end],
                whole.copies[start:end],
            )
            one.errors = [
                OpError(group - start, error.code, error.message, error.fields)
                for group, error in sorted(groups.items())
                if start <= group < end
            ]
            told = {error.code for error in one.errors}
            one.errors += [
                OpError(one.bulk.codes.index(code), code, reason.message, reason.fields)
                for code, reason in reasons.items()
                if code not in told and code in one.bulk.codes
            ]
            results.append(to_result(one))
        return results


def join(batches: Iterable[Batch | BatchResult]) -> Iterator[Batch | BatchResult | Joined]:
    """Those of a frame in their order; bulk writes that follow one another and are alike, in one.

    A BatchResult stands for a batch that was refused whole.
    """
    for alike, group in groupby(batches, _likeness):
        if alike is None:
            yield from group
            continue
        some = [one for one in group if isinstance(one, Batch)]
        yield some[0] if len(some) == 1 else Joined(some)


def _likeness(batch: Batch | BatchResult) -> tuple[int, int, str, int] | None:
    if isinstance(batch, BatchResult) or batch.bulk is None:
        return None
    bulk = batch.bulk
    if batch.kinds or bulk.kind == GET:
        return None
    return batch.session, bulk.kind, bulk.space, bulk.ttl_ms
