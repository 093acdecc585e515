"""What cannot be decoded is refused in words, whatever Python calls it."""

from __future__ import annotations

import msgspec
import pytest
from tupelo.batch import GarbledAnswer, read_detail
from tupelo.calls import application_error, command_info
from tupelo.codec import decode_value
from tupelo.errors import CommandFailed, InvalidArgument
from tupelo.routing import RouteTable
from tupelo.schema import decode_schema
from tupelo.unit import ProcessingUnit
from tupelo.v1.data_pb2 import ErrorDetail
from tupelo_grid.cli.output import CliError
from tupelo_grid.cli.settings import load_config
from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.keeper import TableKeeper
from tupelo_grid.core.statestore import KeyValue, MemoryState, Snapshot
from tupelo_grid.core.view import ViewReader
from tupelo_grid.transport.route import decode_command
from tupelo_grid.units.loader import UnitLoadError, read_manifest

from tests.memory_store import MemoryStateStore

NO_TEXT = b"\xa1\xff"  # a string of one byte that is no UTF-8
TOO_DEEP = b"\x91" * 5000 + b"\xc0"
GARBAGE = pytest.mark.parametrize("data", [NO_TEXT, TOO_DEEP, b"\xc1", b""])
JSON_GARBAGE = pytest.mark.parametrize(
    "data", [b'{"name": "\xff", "route": ["\xff"]}', b"[" * 5000, b"{", b""]
)


@GARBAGE
def test_values(data):
    with pytest.raises(InvalidArgument, match="not MessagePack"):
        decode_value(data)


@GARBAGE
def test_errors_of_applications(data):
    assert "cannot be read" in application_error(data, {}).message


@pytest.mark.parametrize("data", [b"\x81\xa1a" + NO_TEXT, b"\x81\xa1a" + TOO_DEEP, b"\xc1"])
def test_details_of_errors(data):
    with pytest.raises(GarbledAnswer):
        read_detail(ErrorDetail(message="m", fields=data))


def test_arguments_and_results_of_commands():
    unit = ProcessingUnit("u")

    @unit.command(route="name")
    def greet(name: str) -> str:
        return name

    with pytest.raises(InvalidArgument, match="greet"):
        greet.prepare(b"\x81\xa4name" + NO_TEXT)
    with pytest.raises(InvalidArgument, match="greet"):
        greet.decode_result(NO_TEXT)


@JSON_GARBAGE
def test_schemas_and_commands(data):
    with pytest.raises(msgspec.DecodeError):
        decode_schema(data)
    with pytest.raises(CommandFailed):
        decode_command("u.greet", data)
    table = RouteTable(b"", 1, 0, (), (), (), {"command:u.greet": data or b"x"})
    with pytest.raises(InvalidArgument):
        command_info(table, "u.greet")


@JSON_GARBAGE
async def test_rows_of_the_state_store_are_passed_over(data):
    good = b'{"epoch":1,"primary":"a#1","in_sync":["a#1"]}'
    rows = {"part/0": good, "part/1": data, "part/x": good, "lease/a#1": data, "grid": data}
    entries = {key: KeyValue(value, 1) for key, value in rows.items()}
    view = ViewReader().read(Snapshot(entries, 1))
    assert list(view.parts) == [0]
    assert set(view.malformed) == {"part/1", "part/x", "lease/a#1", "grid"}
    state = MemoryState()
    state.txn([], rows)
    keeper = TableKeeper(MemoryStateStore(GridConfig(), state), GridConfig())
    known = await keeper.refresh()
    assert list(known.table.parts) == [0]
    assert (known.grid, known.leases) == (None, {})


def test_files(tmp_path):
    (tmp_path / "unit.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(UnitLoadError, match="not TOML"):
        read_manifest(tmp_path)
    with pytest.raises(CliError, match="not TOML"):
        load_config({}, str(tmp_path / "unit.toml"), {})
