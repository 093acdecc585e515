"""The CLI without a grid: usage, output, what it makes of answers, exit codes."""

import io
import json
import sys
from concurrent import futures

import grpc
import msgspec
import pytest
from tupelo.schema import SpaceSchema, encode_schema
from tupelo.v1 import admin_pb2, admin_pb2_grpc, data_pb2, data_pb2_grpc
from tupelo_grid.cli import data, output, up, values
from tupelo_grid.cli.main import main
from tupelo_grid.cli.output import ExitCode
from tupelo_grid.cli.status import as_dict, not_ready
from tupelo_grid.config import GridConfig


def status_response():
    return admin_pb2.StatusResponse(
        grid_id="ab",
        version="1",
        units=[
            admin_pb2.UnitStatus(
                id=f"unit-{n}",
                incarnation=f"unit-{n}#{n}",
                address=f"127.0.0.1:{n}",
                state="running",
                primaries=128,
                backups=128,
                memory_bytes=50 << 20,
                ready_partitions=range(128),
                counters={"session.frames": 3},
            )
            for n in (1, 2)
        ],
        partitions=admin_pb2.PartitionSummary(total=256, healthy=250, under_replicated=2, lost=1),
        pump=admin_pb2.PumpStatus(lag_records=3, lag_s=0.25, store="sqlite"),
        warnings=["something is down"],
    )


class Router(data_pb2_grpc.SpaceServicer, admin_pb2_grpc.AdminServicer):
    """Answers as messaging does, from a dict."""

    def __init__(self):
        self.entries = {}
        self.tokens = []
        self.refusals = 0
        self.scaled = []

    def Status(self, request, context):
        return status_response()

    def CreateSpace(self, request, context):
        return admin_pb2.CreateSpaceResponse(created=request.name != "old")

    def Get(self, request, context):
        value = self.entries.get(request.key_json)
        if value is None:
            return data_pb2.GetResponse(found=False)
        return data_pb2.GetResponse(found=True, value_json=value, version=7)

    def Put(self, request, context):
        self.tokens.append((request.session, request.op_number))
        if self.refusals:
            self.refusals -= 1
            context.set_trailing_metadata((("tupelo-code", "NOT_READY"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "handing over")
        if request.space == "nowhere":
            context.set_trailing_metadata((("tupelo-code", "UNKNOWN_SPACE"),))
            text = "no space 'nowhere'; create it with CreateSpace"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        if request.space == "lost":
            context.set_trailing_metadata((("tupelo-code", "PARTITION_LOST"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "partition 3 is LOST")
        self.entries[request.key_json] = request.value_json
        return data_pb2.WriteResponse(applied=True, version=1, copies=2)

    def PutIfAbsent(self, request, context):
        present = request.key_json in self.entries
        return data_pb2.WriteResponse(applied=not present, version=5)

    def Delete(self, request, context):
        return data_pb2.WriteResponse(applied=bool(self.entries.pop(request.key_json, None)))

    def Count(self, request, context):
        return data_pb2.CountResponse(count=len(self.entries))

    def Scan(self, request, context):
        first = int(request.page_token or 0)
        rows = [(n, {"n": n, "raw": b"\x01"}) for n in range(7)][first : first + request.limit]
        return data_pb2.ScanResponse(
            keys=[msgspec.msgpack.encode(key) for key, _ in rows],
            values=[msgspec.msgpack.encode(value) for _, value in rows],
            versions=[1] * len(rows),
            next_page_token=str(first + len(rows)) if first + len(rows) < 7 else "",
        )

    def Call(self, request, context):
        if request.command == "airline.hold":
            fields = {"code": "SeatTaken", "fields": {"number": 7}}
            packed = msgspec.msgpack.encode(fields)
            trailers = (("tupelo-code", "APPLICATION_ERROR"), ("tupelo-fields-bin", packed))
            context.set_trailing_metadata(trailers)
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the seat is taken")
        return data_pb2.CallResponse(result_json=request.arguments_json)

    def Route(self, request, context):
        schema = SpaceSchema("seats", key=("event", "number"), route=(0,))
        info = data_pb2.SpaceInfo(name="seats", schema=encode_schema(schema))
        return data_pb2.RouteResponse(spaces=[info])


@pytest.fixture
def router():
    """With `port`, as the CLI takes it."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = Router()
    data_pb2_grpc.add_SpaceServicer_to_server(servicer, server)
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)
    servicer.port = str(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    yield servicer
    server.stop(0).wait()


@pytest.fixture
def nobody():
    """A port that nobody listens on, with the next one free as well."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_put_get_delete(router, capsys):
    port = ["--port", router.port]
    assert main(["put", "carts", "ann", '{"tea": 2}', *port]) == 0
    assert router.entries == {'"ann"': '{"tea": 2}'}
    assert main(["get", "carts", "ann", *port]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == '{"tea": 2}'
    assert main(["get", "carts", "ann", "--json", *port]) == 0
    assert last_json(capsys) == {"key": "ann", "value": {"tea": 2}, "version": 7}
    assert main(["count", "carts", *port]) == 0
    assert capsys.readouterr().out == "1\n"
    assert main(["delete", "carts", "ann", *port]) == 0
    assert main(["delete", "carts", "ann", *port]) == ExitCode.NOT_FOUND
    assert main(["get", "carts", "ann", *port]) == ExitCode.NOT_FOUND
    assert "no entry ann in space carts" in capsys.readouterr().err


def test_a_write_is_repeated_with_its_token_while_the_grid_is_not_ready(router):
    router.refusals = 2
    assert main(["put", "carts", "1", "2", "--port", router.port]) == 0
    assert len(router.tokens) == 3
    assert len(set(router.tokens)) == 1
    assert router.tokens[0][0] > 0


def test_time_over_while_not_ready_says_what_the_grid_said(router, capsys):
    router.refusals = 1000
    arguments = ["put", "carts", "1", "2", "--port", router.port, "--timeout", "0.1"]
    assert main(arguments) == ExitCode.FAILED
    assert "handing over [NOT_READY]" in capsys.readouterr().err


def test_a_condition_that_does_not_hold_is_exit_code_4(router, capsys):
    router.entries["1"] = "2"
    arguments = ["put", "carts", "1", "3", "--if-absent", "--port", router.port]
    assert main(arguments) == ExitCode.NOT_FOUND
    assert "it has version 5" in capsys.readouterr().err


def test_scan_pages_until_the_limit(router, capsys):
    assert main(["scan", "carts", "--limit", "5", "--port", router.port, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"key": 0, "value": {"n": 0, "raw": "AQ=="}, "version": 1}
    assert len(lines) == 6
    assert lines[-1] == {"entries": 5, "more": True}
    assert main(["scan", "carts", "--limit", "0", "--port", router.port]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 7
    assert not shown.err
    assert main(["scan", "carts", "--limit", "5", "--port", router.port]) == 0
    assert "there are more than the 5 shown: --limit N" in capsys.readouterr().err


def test_call_passes_named_arguments(router, capsys):
    arguments = ["call", "airline.seat_map", "flight=UA1", "row=3", "--port", router.port]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"flight": "UA1", "row": 3}
    assert main(["call", "x", "nonsense", "--port", router.port]) == ExitCode.USAGE
    assert main(["call", "x", "n=1", "n=2", "--port", router.port]) == ExitCode.USAGE
    assert "n was given before" in capsys.readouterr().err


def test_an_application_error_is_shown_with_its_code_and_fields(router, capsys):
    assert main(["call", "airline.hold", "--port", router.port]) == ExitCode.FAILED
    shown = capsys.readouterr().err
    assert "the command refused: the seat is taken" in shown
    assert "SeatTaken number=7" in shown


def test_the_grids_own_words_reach_the_user(router, capsys):
    assert main(["put", "nowhere", "1", "2", "--port", router.port]) == ExitCode.FAILED
    assert "create it with `tupelo space create NAME` [UNKNOWN_SPACE]" in capsys.readouterr().err


def test_a_lost_partition_is_asked_for_until_the_time_is_over_and_is_exit_code_3(router, capsys):
    arguments = ["put", "lost", "1", "2", "--json", "--port", router.port, "--timeout"]
    assert main([*arguments, "0.3"]) == ExitCode.UNREACHABLE
    assert len(router.tokens) > 1
    assert len(set(router.tokens)) == 1
    shown = capsys.readouterr()
    assert "partition 3 is LOST [PARTITION_LOST]" in shown.err
    # The last line, for whoever reads JSON.
    error = json.loads(shown.out.splitlines()[-1])["error"]
    assert (error["code"], error["message"]) == (3, "partition 3 is LOST [PARTITION_LOST]")


def test_spaces(router, capsys):
    assert main(["spaces", "--port", router.port]) == 0
    assert "event, number" in capsys.readouterr().out
    assert main(["spaces", "--port", router.port, "--json"]) == 0
    assert last_json(capsys)["spaces"][0]["name"] == "seats"


def test_space_create(router, capsys):
    assert main(["space", "create", "new", "--port", router.port]) == 0
    assert main(["space", "create", "old", "--port", router.port]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "space new created",
        "space old exists already",
    ]


def test_status_for_machines_and_people(router, capsys):
    assert main(["status", "--json", "--port", router.port]) == 0
    status = last_json(capsys)
    assert status["partitions"] == {
        "total": 256,
        "healthy": 250,
        "under_replicated": 2,
        "lost": 1,
        "moving": 0,
        "not_ready": 3,
    }
    assert [unit["id"] for unit in status["units"]] == ["unit-1", "unit-2"]
    assert {"id", "address", "state", "primaries", "backups", "entries", "memory_bytes"} <= set(
        status["units"][0]
    )
    assert {"lag_records", "lag_s", "dead_letters"} <= set(status["pump"])
    assert main(["status", "--port", router.port]) == 0
    shown = capsys.readouterr().out
    assert "50.0 MiB" in shown
    assert "warning: something is down" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "--json"],
        ["get", "carts", "1", "--timeout", "0.2"],
        ["scale", "3"],
        ["down"],
        ["space", "create", "x"],
    ],
)
def test_nobody_there_is_exit_code_3_and_says_what_to_do(nobody, capsys, arguments):
    assert main([*arguments, "--port", nobody]) == ExitCode.UNREACHABLE
    shown = capsys.readouterr()
    assert shown.err.startswith("tupelo: ")
    assert "Traceback" not in shown.err + shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--units", "0"], "units must be"),
        (["up", "--unit", "/nowhere"], "no unit.toml"),
        (["up", "--set", "nonsense=1"], "config.py explains all"),
        (["up", "--space", "a b"], "a space's name is"),
        (["up", "--data-dir", "/proc/nowhere/x"], "--data-dir DIR"),
        (["up", "--config", "/nowhere.toml"], "cannot be read"),
    ],
)
def test_an_impossible_start_is_exit_code_2_and_says_what_to_do(capsys, arguments, said):
    assert main(arguments) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_usage_errors_are_exit_code_2(capsys):
    for arguments in ([], ["nonsense"], ["scale"], ["scale", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "usage: tupelo" in capsys.readouterr().err


def test_help_tells_exit_codes_and_version_tells_the_version(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "exit codes:" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("tupelo ")


def test_tables_are_plain_in_a_pipe_and_rich_in_a_terminal(capsys, monkeypatch):
    output.show_table(("unit", "entries"), [("unit-1", 12345), ("u", 1)], spare=1)
    assert capsys.readouterr().out.splitlines() == [
        "unit    entries",
        "unit-1   12,345",
        "u             1",
    ]

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.is_rich()
    output.say("hello", "green")
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.is_rich()


def test_serving_means_all_units_and_all_copies_that_they_allow():
    config = GridConfig(units=2)
    status = status_response()
    assert not up.is_serving(status, config)
    # What is LOST does not come by waiting.
    status.partitions.healthy = 256 - status.partitions.lost
    assert up.is_serving(status, config)
    assert not up.is_serving(status, GridConfig(units=3))
    single = admin_pb2.StatusResponse(
        units=status.units[:1],
        partitions=admin_pb2.PartitionSummary(total=256, under_replicated=256),
    )
    assert up.is_serving(single, GridConfig(units=1))
    assert not up.is_serving(admin_pb2.StatusResponse(), GridConfig(units=1))


def test_a_partition_without_a_ready_primary_is_counted_once():
    assert not_ready(admin_pb2.PartitionSummary(total=10, healthy=5, lost=1)) == 4
    assert as_dict(status_response())["partitions"]["not_ready"] == 3


@pytest.mark.parametrize(
    ("text", "json_text"),
    [
        ("ann", '"ann"'),
        ("NaN", '"NaN"'),
        ("7", "7"),
        ('["e",1]', '["e",1]'),
        ("null", "null"),
        ('"7"', '"7"'),
    ],
)
def test_text_that_is_no_json_is_a_string(text, json_text):
    assert values.as_json(text) == json_text


def test_tokens_are_of_new_sessions():
    first, second = data.new_token(), data.new_token()
    assert first != second
    assert first[0] < 1 << 64


def test_a_narrow_terminal_gets_fewer_columns_instead_of_broken_lines():
    columns, cells = ("unit", "state", "journal"), [("unit-1", "running", "39.6 KiB")]
    # 6 + 7 + 8 and two between and behind each.
    assert output.fitting(columns, cells, 1, 27) == 3
    assert output.fitting(columns, cells, 1, 26) == 2
    assert output.fitting(columns, cells, 1, 5) == 2
    assert output.fitting(columns, cells, 0, 5) == 3
