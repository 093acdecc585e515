"""Work on many partitions at once, as pieces that fail and are repeated on their own. Pure.

A group is one partition's part of a bulk operation, with one token; an ask is one read of a whole
partition (a count, a page of a scan).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tupelo.batch import (
    GarbledAnswer,
    Token,
    details_of,
    operation_bytes_max,
    read_detail,
    timeout_ms,
    too_large,
)
from tupelo.codec import DECODE_ERRORS
from tupelo.config import ClientConfig
from tupelo.errors import ResultCode, TupeloError
from tupelo.kinds import GET, PUT
from tupelo.retry import Attempts, Failure
from tupelo.routing import RouteTable
from tupelo.v1.data_pb2 import BatchResult, BulkBatch, OpBatch, OpKind

Failed = tuple["Piece", Failure]


class Piece:
    """One partition's part. `token` is None for reads; `error` is set when it is given up."""

    __slots__ = ("attempts", "error", "parent", "partition", "size_bytes", "token")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.size_bytes = 0
        self.token: Token | None = None
        self.error: TupeloError | None = None
        self.attempts: Attempts | None = None
        self.parent: Piece | None = None

    def give_up(self, error: TupeloError) -> None:
        self.error = error
        if self.parent is not None:
            self.parent.give_up(error)

    def smaller(self, failure: Failure) -> Sequence[Piece]:
        """What to ask for instead, after its answer had no room."""
        return (self,)

    @property
    def operations(self) -> int:
        return 1


class Group(Piece):
    """Entries of one partition. After it is done: `epoch`, `version`, `copies` of a write, and
    `found` of a read: (key bytes, value bytes) of the entries there are.
    """

    __slots__ = ("copies", "entries", "epoch", "found", "version")

    def __init__(self, partition: int, entries: dict[bytes, bytes], size_bytes: int) -> None:
        super().__init__(partition)
        self.entries = entries
        self.size_bytes = size_bytes
        self.epoch = 0
        self.version = 0
        self.copies = 0
        self.found: list[tuple[bytes, bytes]] = []

    @property
    def operations(self) -> int:
        return len(self.entries)

    def smaller(self, failure: Failure) -> Sequence[Piece]:
        """Halves of a read: nobody knows beforehand how large the values are."""
        if failure.code != ResultCode.ANSWER_FULL or self.token is not None:
            return (self,)
        items = list(self.entries.items())
        middle = (len(items) + 1) // 2
        halves: list[Piece] = []
        for some in (items[:middle], items[middle:]):
            if some:
                half = Group(self.partition, dict(some), self.size_bytes // 2)
                half.parent, half.attempts, half.found = self, self.attempts, self.found
                halves.append(half)
        return halves


class Ask(Piece):
    """A read of a partition; `answer` when it is done."""

    __slots__ = ("answer", "key", "value")

    def __init__(self, partition: int, key: bytes = b"", value: bytes = b"") -> None:
        super().__init__(partition)
        self.key = key
        self.value = value
        self.answer: Any = None


class Work:
    """What pieces have in common: how they become a batch, and how its result is read."""

    def __init__(self, kind: int, target: str) -> None:
        self.kind = kind
        self.target = target
        self.writes = False

    def batch(self, pieces: Sequence[Any], table: RouteTable, left_s: float) -> OpBatch:
        raise AssertionError("one of Bulk and Asking")

    def read(self, pieces: Sequence[Any], result: BatchResult) -> list[Failed]:
        raise AssertionError("one of Bulk and Asking")


class Bulk(Work):
    """put_many, get_many and delete_many."""

    def __init__(self, kind: int, target: str, ttl_ms: int = 0, *, strict: bool = False) -> None:
        super().__init__(kind, target)
        self.ttl_ms = ttl_ms
        self.strict = strict
        self.writes = kind != GET

    def batch(self, pieces: Sequence[Group], table: RouteTable, left_s: float) -> OpBatch:
        tokens = [group.token for group in pieces if group.token is not None]
        session = tokens[0][0] if tokens else None
        values: list[bytes] = []
        if self.kind == PUT:
            values = [value for group in pieces for value in group.entries.values()]
        return OpBatch(
            grid_id=table.grid_id,
            table_version=table.version,
            session=session.id if session else 0,
            acked_below=session.acked_below if session else 0,
            strict=self.strict,
            timeout_ms=timeout_ms(left_s),
            bulk=BulkBatch(
                kind=OpKind.Name(self.kind),
                space=self.target,
                partitions=[group.partition for group in pieces],
                counts=[len(group.entries) for group in pieces],
                op_numbers=[number for _, number in tokens],
                keys=[key for group in pieces for key in group.entries],
                values=values,
                ttl_ms=self.ttl_ms,
            ),
        )

    def read(self, pieces: Sequence[Group], result: BatchResult) -> list[Failed]:
        refused = _refused(pieces, result)
        if refused:
            return refused
        bulk = result.bulk
        count = len(pieces)
        if len(bulk.codes) != count:
            raise GarbledAnswer(f"{len(bulk.codes)} codes for {count} groups")
        details = details_of(result)
        self._take(pieces, result, count)
        failed: list[Failed] = []
        for index, code in enumerate(bulk.codes):
            if code >= 16:
                message, fields = details.get(index, ("", {}))
                failed.append((pieces[index], _failure(pieces[index], code, message, fields)))
        return failed

    def _take(self, pieces: Sequence[Group], result: BatchResult, count: int) -> None:
        bulk = result.bulk
        versions, values = bulk.versions[:], bulk.values[:]
        if not self.writes:
            total = sum([len(group.entries) for group in pieces])
            if len(versions) != total or len(values) not in (0, total):
                raise GarbledAnswer(f"{len(versions)} versions for {total} entries")
            answers = zip(versions, values or [b""] * total, strict=True)
            for group in pieces:
                rows = zip(group.entries, answers, strict=False)
                group.found += [(key, value) for key, (version, value) in rows if version]
            return
        epochs, copies = bulk.epochs[:], bulk.copies
        if not len(versions) == len(epochs) == len(copies) == count:
            raise GarbledAnswer(
                f"{len(versions)} versions, {len(epochs)} epochs for {count} groups"
            )
        for index, group in enumerate(pieces):
            group.version = versions[index]
            group.epoch = epochs[index]
            group.copies = copies[index]


class Asking(Work):
    """Counts and pages of scans; `decode` reads the value of an answer."""

    def __init__(self, kind: int, target: str, decode: Callable[[bytes], Any]) -> None:
        super().__init__(kind, target)
        self.decode = decode

    def batch(self, pieces: Sequence[Ask], table: RouteTable, left_s: float) -> OpBatch:
        values = [ask.value for ask in pieces]
        return OpBatch(
            grid_id=table.grid_id,
            table_version=table.version,
            timeout_ms=timeout_ms(left_s),
            targets=[self.target],
            kinds=bytes([self.kind]) * len(pieces),
            partitions=[ask.partition for ask in pieces],
            keys=[ask.key for ask in pieces],
            values=values if any(values) else (),
        )

    def read(self, pieces: Sequence[Ask], result: BatchResult) -> list[Failed]:
        refused = _refused(pieces, result)
        if refused:
            return refused
        count = len(pieces)
        if len(result.codes) != count or len(result.values) not in (0, count):
            raise GarbledAnswer(f"{len(result.codes)} codes for {count} operations")
        details = details_of(result)
        failed: list[Failed] = []
        for index, (ask, code) in enumerate(zip(pieces, result.codes, strict=True)):
            if code >= 16:
                message, fields = details.get(index, ("", {}))
                failed.append((ask, _failure(ask, code, message, fields)))
            else:
                ask.answer = self.decode(result.values[index] if result.values else b"")
        return failed


def _refused(pieces: Sequence[Piece], result: BatchResult) -> list[Failed]:
    if not result.HasField("refused"):
        return []
    message, fields = read_detail(result.refused)
    code = result.refused.code or ResultCode.INVALID_ARGUMENT
    return [(piece, _failure(piece, code, message, fields)) for piece in pieces]


def _failure(piece: Piece, code: int, message: str, fields: dict[str, Any]) -> Failure:
    session, number = piece.token or (None, 0)
    return Failure(code, message, fields, code >= ResultCode.OUTCOME_UNKNOWN, session, number)


def grouped(located: Mapping[int, dict[bytes, bytes]], config: ClientConfig) -> list[Group]:
    """Groups of the encoded entries of each partition: one each, or more where they do not fit
    one frame together. Raises TooLarge for an entry that no message can carry.
    """
    groups: list[Group] = []
    for partition, entries in located.items():
        size_bytes = len(b"".join(entries)) + sum(map(len, entries.values()))
        if size_bytes <= config.frame_bytes_max and len(entries) <= config.frame_ops_max:
            groups.append(Group(partition, entries, size_bytes))
        else:
            groups += _split(partition, entries, config)
    return groups


def _split(partition: int, entries: dict[bytes, bytes], config: ClientConfig) -> Iterator[Group]:
    some: dict[bytes, bytes] = {}
    size_bytes = 0
    for key, value in entries.items():
        entry_bytes = len(key) + len(value)
        if entry_bytes > operation_bytes_max(config):
            raise too_large(entry_bytes, operation_bytes_max(config))
        over = size_bytes + entry_bytes > config.frame_bytes_max
        if some and (over or len(some) >= config.frame_ops_max):
            yield Group(partition, some, size_bytes)
            some, size_bytes = {}, 0
        some[key] = value
        size_bytes += entry_bytes
    yield Group(partition, some, size_bytes)


def chunks(pieces: Iterable[Piece], config: ClientConfig) -> Iterator[list[Piece]]:
    """Pieces for one unit as the contents of batches: within frame limits, of one session."""
    chunk: list[Piece] = []
    operations = size_bytes = 0
    for piece in pieces:
        other_session = bool(chunk) and _session(chunk[0]) is not _session(piece)
        if chunk and (
            other_session
            or operations + piece.operations > config.frame_ops_max
            or size_bytes + piece.size_bytes > config.frame_bytes_max
        ):
            yield chunk
            chunk, operations, size_bytes = [], 0, 0
        chunk.append(piece)
        operations += piece.operations
        size_bytes += piece.size_bytes
    if chunk:
        yield chunk


def _session(piece: Piece) -> object:
    return piece.token[0] if piece.token else None


def decode_page(value: bytes) -> list[tuple[bytes, bytes, int]]:
    """The rows of a scan's answer. Raises GarbledAnswer."""
    try:
        return msgspec.msgpack.decode(value, type=list[tuple[bytes, bytes, int]])
    except DECODE_ERRORS as error:
        raise GarbledAnswer(f"a page of a scan is malformed: {error}") from error


def decode_count(value: bytes) -> int:
    try:
        return msgspec.msgpack.decode(value, type=int)
    except DECODE_ERRORS as error:
        raise GarbledAnswer(f"a count is malformed: {error}") from error


def combined_error(pieces: Sequence[Piece]) -> TupeloError | None:
    """The error of a bulk call some of whose groups failed; None when none did.

    An unknown outcome weighs more than a certain failure. `fields` says how far the call came.
    """
    errors = [piece.error for piece in pieces if piece.error is not None]
    if not errors:
        return None
    worst = next((error for error in errors if not error.retryable), errors[0])
    unknown = [error for error in errors if error.code == ResultCode.OUTCOME_UNKNOWN]
    worst = unknown[0] if unknown else worst
    done = sum([piece.operations for piece in pieces if piece.error is None])
    failed = sum([piece.operations for piece in pieces if piece.error is not None])
    fields = {
        **worst.fields,
        "entries_done": done,
        "entries_failed": failed,
        "partitions_failed": sorted({piece.partition for piece in pieces if piece.error}),
    }
    return type(worst)(f"{worst.message} ({done} entries done, {failed} not)", fields)
