"""What the CLI says and does about LOST partitions, and about signals while a grid starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from tupelo.v1 import admin_pb2 as pb
from tupelo.v1 import admin_pb2_grpc
from tupelo_grid.cli.lost import Patience, lost_error
from tupelo_grid.cli.main import main
from tupelo_grid.cli.output import CliError, ExitCode
from tupelo_grid.cli.starting import Interrupted, Signals
from tupelo_grid.cli.values import as_ranges, parse_ranges
from tupelo_grid.config import GridConfig


class Control(admin_pb2_grpc.AdminServicer):
    """Of a grid with some LOST partitions; the store has something of the even ones."""

    def __init__(self) -> None:
        self.lost = [1, 2, 3, 9]
        self.done: list[int] = []
        self.port = 0

    def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:
        summary = pb.PartitionSummary(total=16, lost=len(self.lost))
        return pb.StatusResponse(partitions=summary, lost_partitions=self.lost)

    def Promote(self, request: pb.PromoteRequest, context: Any) -> pb.PromoteResponse:
        number = request.partition
        if number not in self.lost:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"partition {number} is not LOST")
        if request.revision:
            assert (request.revision, request.to) == (70 + number, "unit-1#4")
            self.done.append(number)
        cursor = 0 if number % 2 else 5
        answer = pb.PromoteResponse(revision=70 + number, store_cursor=cursor)
        answer.candidate, answer.may_lose = "unit-1#4", "everything since is lost"
        return answer


@pytest.fixture
def control() -> Iterator[Control]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = Control()
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    servicer.port = server.add_insecure_port("127.0.0.1:0") - 1
    server.start()
    yield servicer
    server.stop(0).wait()


def promote(control: Control, *arguments: str) -> int:
    return main(["promote", *arguments, "--port", str(control.port)])


def test_all_that_is_lost_is_promoted_after_one_question(
    control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    assert promote(control, "--all-lost", "--from-store") == ExitCode.FAILED
    shown = capsys.readouterr()
    assert "4 partitions begin anew with what the store has" in shown.out
    assert "1-3, 9" in shown.out
    assert "the store has something of 1 of them" in shown.out
    assert "every later change of these partitions is lost" in shown.out
    assert "nothing was changed" in shown.err
    assert not control.done
    assert promote(control, "--all-lost", "--from-store", "--yes") == ExitCode.OK
    assert control.done == [1, 2, 3, 9]
    control.lost = []
    assert promote(control, "--all-lost", "--from-store", "--yes") == ExitCode.OK
    assert "no partition is LOST" in capsys.readouterr().out


def test_ranges_are_promoted_but_for_what_is_refused(
    control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    assert promote(control, "2-4", "--from-store", "--yes") == ExitCode.FAILED
    assert control.done == [2, 3]
    shown = capsys.readouterr()
    assert "partition 4 is not LOST" in shown.out
    assert "1 of 3 were left as they are" in shown.err
    for wrong in (["4-2"], ["x"], ["1,,2"], ["5000"], [], ["3", "--all-lost"]):
        assert promote(control, *wrong, "--from-store", "--yes") == ExitCode.USAGE
    assert control.done == [2, 3]


def test_ranges() -> None:
    assert parse_ranges("7, 1-3,2") == [1, 2, 3, 7]
    assert as_ranges([7, 1, 3, 2]) == "1-3, 7"
    assert as_ranges(range(0, 100, 2)).endswith("30, ...")
    with pytest.raises(CliError):
        parse_ranges("-1")


def test_a_start_with_lost_partitions_is_a_failure_that_says_what_to_do() -> None:
    config = GridConfig(port=7700)
    summary = pb.PartitionSummary(total=16, healthy=12, lost=4)
    status = pb.StatusResponse(partitions=summary, lost_partitions=[0, 1, 2, 5])
    error = lost_error(status, config, detached=True)
    assert error is not None
    assert error.code is ExitCode.FAILED
    assert "4 of 16 partitions are LOST" in error.message
    assert "0-2, 5" in error.message
    assert "tupelo promote --all-lost --port 7700" in error.hint
    assert "--from-store" in error.hint
    assert lost_error(pb.StatusResponse(), config, detached=True) is None


def test_what_may_come_back_by_itself_is_waited_for() -> None:
    patience = Patience(GridConfig(lease_s=1.0))
    assert not patience.is_over(4, 10.0)
    assert not patience.is_over(4, 12.9)
    assert not patience.is_over(3, 13.0)
    assert patience.is_over(3, 16.0)
    assert patience.is_over(0, 16.0)


def test_a_signal_ends_a_start_and_is_counted_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.count == 1
        # It came before there was anything to stop.
        with pytest.raises(Interrupted, match="SIGTERM"):
            signals.arm()
        with pytest.raises(Interrupted, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.count == 3
    assert signal.getsignal(signal.SIGTERM) is before
