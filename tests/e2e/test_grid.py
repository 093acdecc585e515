"""A grid of three units as a user meets it: started, looked at and used through the CLI."""

import json

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tupelo.v1 import data_pb2, data_pb2_grpc
from tupelo_grid.cli.output import ExitCode

from tests.e2e.grids import tupelo

UNIT_KEYS = {"id", "address", "state", "primaries", "backups", "entries", "memory_bytes"}


def test_up_says_that_it_is_ready_and_how_to_go_on(grid):
    said = grid.started.stdout
    assert "ready in" in said
    assert grid.address in said
    assert f"tupelo down --data-dir {grid.data_dir}" in said
    # The target is 3 s on an idle machine; this one may be busy with other tests.
    assert grid.up_s < 15


def test_up_again_says_that_it_is_up(grid):
    result = grid.up()
    assert result.returncode == 0
    assert f"already up on {grid.address}" in result.stdout


def test_another_grid_on_the_same_data_is_refused(grid):
    result = tupelo("up", "--data-dir", grid.data_dir, "--port", grid.port + 2, "--detach")
    assert result.returncode == ExitCode.USAGE
    assert f"on port {grid.port}" in result.stderr


def test_status_has_units_partitions_and_pump(grid):
    status = grid.until_healthy()
    assert [unit["id"] for unit in status["units"]] == ["unit-1", "unit-2", "unit-3"]
    for unit in status["units"]:
        assert unit.keys() >= UNIT_KEYS
        assert unit["state"] == "running"
        assert unit["memory_bytes"] > 10 << 20
    assert {unit["pid"] for unit in status["units"]} == set(grid.unit_pids.values())
    assert (
        status["partitions"].items()
        >= {
            "total": 256,
            "healthy": 256,
            "under_replicated": 0,
            "lost": 0,
        }.items()
    )
    assert status["pump"].keys() >= {"lag_records", "lag_s", "dead_letters"}
    assert status["warnings"] == []


def test_partitions_are_even_and_no_backup_is_beside_its_primary(grid):
    with grpc.insecure_channel(grid.address) as channel:
        route = data_pb2_grpc.SpaceStub(channel).Route(data_pb2.RouteRequest(), timeout=5)
    assert len(route.primaries) == route.partitions == 256
    for primary, members in zip(route.primaries, route.in_sync, strict=True):
        assert primary > 0
        assert len(members) == 2
        assert len(set(members)) == 2
        assert primary in members
    primaries = [unit["primaries"] for unit in grid.status()["units"]]
    backups = [unit["backups"] for unit in grid.status()["units"]]
    assert sum(primaries) == sum(backups) == 256
    assert max(primaries) - min(primaries) <= 1


def test_entries_by_cli(grid):
    assert grid.cli("space", "create", "carts").returncode == 0
    put = grid.cli("put", "carts", "ann", '{"tea": 2, "price": 1.5}', "--json")
    assert put.returncode == 0, put.stderr
    written = json.loads(put.stdout)
    assert written["version"] > 0
    assert written["copies"] == 2
    assert json.loads(grid.cli("get", "carts", "ann").stdout) == {"tea": 2, "price": 1.5}
    assert grid.cli("put", "carts", "ann", "3", "--if-absent").returncode == ExitCode.NOT_FOUND
    stale = grid.cli("put", "carts", "ann", "3", "--if-version", written["version"] + 1)
    assert stale.returncode == ExitCode.NOT_FOUND
    fresh = grid.cli("put", "carts", "ann", "3", "--if-version", written["version"])
    assert fresh.returncode == 0, fresh.stderr
    assert grid.cli("put", "carts", '["ann", 1]', '"x"').returncode == 0
    assert grid.cli("count", "carts").stdout == "2\n"
    lines = grid.cli("scan", "carts", "--json").stdout.splitlines()
    entries = [json.loads(line) for line in lines[:-1]]
    assert sorted(str(entry["key"]) for entry in entries) == ["['ann', 1]", "ann"]
    assert json.loads(lines[-1]) == {"entries": 2, "more": False}
    assert grid.cli("delete", "carts", "ann").returncode == 0
    assert grid.cli("get", "carts", "ann").returncode == ExitCode.NOT_FOUND


def test_a_unit_that_is_installed_runs_beside_one_from_a_folder(grid):
    made = grid.cli("call", "plugged.make", "key=a", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout.splitlines()[-1])["result"] == 7
    assert json.loads(grid.cli("get", "plugged-things", "a").stdout) == {"key": "a", "number": 7}


def test_spaces_are_listed(grid):
    names = {
        space["name"]
        for space in json.loads(grid.cli("spaces", "--json").stdout.splitlines()[-1])["spaces"]
    }
    assert names >= {"flights", "seats"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("put", "nowhere", "1", "2"), "UNKNOWN_SPACE"),
        (("get", "nowhere", "1"), "UNKNOWN_SPACE"),
        (("put", "default", '{"a": 1}', "2"), "INVALID_ARGUMENT"),
        (("call", "airline.nonsense"), "UNKNOWN_COMMAND"),
        (("put", "default", "x" * 70_000, "2"), "KEY_TOO_LARGE"),
    ],
)
def test_bad_input_is_refused_in_words(grid, arguments, said):
    result = grid.cli(*arguments)
    assert result.returncode == ExitCode.FAILED
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_every_server_has_health_and_reflection(grid):
    for name, run in grid.processes().items():
        with grpc.insecure_channel(run.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            answers = list(reflection.ServerReflectionInfo(iter([request]), timeout=5))
            services = {s.name for s in answers[0].list_services_response.service}
            expected = "tupelo.v1.StateStore" if name == "control" else "tupelo.v1.Space"
            assert expected in services, name
