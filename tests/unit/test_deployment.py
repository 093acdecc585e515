"""The deployment manager with children that only print a ready line and wait."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest
from tupelo_grid.config import GridConfig
from tupelo_grid.deployment import child as child_module
from tupelo_grid.deployment.child import parse_ready_line, stop_processes
from tupelo_grid.deployment.local import LocalDeployment, config_path, unit_number
from tupelo_grid.runtime.errors import FatalStartError
from tupelo_grid.runtime.runfiles import is_alive, live_processes, log_path

# A process of the grid without its weight. It keeps a run file as the real ones do.
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
name, data_dir, port, mode = sys.argv[1:5]
def bye(*_):
    with open(os.path.join(data_dir, "stops"), "a") as stops:
        stops.write(name + "\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else bye)
if mode == "fatal":
    print(json.dumps({"ready": False, "error": "no store", "hint": "repair it"}))
    sys.exit(2)
if mode == "crash":
    sys.exit(7)
if mode == "silent":
    time.sleep(60)
if mode == "short" and name != "messaging":
    print(json.dumps({"ready": True, "address": "h:1"}), flush=True)
    sys.exit(1)
ticks = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
facts = {"address": f"127.0.0.1:{os.getpid()}", "incarnation": f"{name}#{os.getpid()}"}
if name == "messaging":
    facts["incarnation"] = ""
run = {"name": name, "role": "unit" if name.startswith("unit") else name, "pid": os.getpid(),
       "start_ticks": ticks, "control_port": int(port), **facts}
os.makedirs(data_dir + "/run", exist_ok=True)
Path(data_dir, "run", name + ".json").write_text(json.dumps(run))
print("application chatter")
print(json.dumps({"ready": True, **facts}), flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def config(tmp_path):
    return GridConfig(
        data_dir=str(tmp_path),
        units=2,
        start_timeout_s=5.0,
        stop_timeout_s=2.0,
        drain_s=2.0,
        restart_backoff_s=0.01,
        restart_backoff_s_max=0.02,
        restarts_per_minute_max=3,
    )


@pytest.fixture
def mode(monkeypatch, config):
    """What the next children do; they start without site-packages, which is 10 times faster."""
    setting = {"mode": "good"}

    def command(role, name, path):
        arguments = [name, config.data_dir, str(config.control_port), setting["mode"]]
        return [sys.executable, "-I", "-S", "-c", CHILD, *arguments]

    monkeypatch.setattr(child_module, "process_command", command)
    return setting


class Deaths:
    """Incarnations reported dead, to be awaited."""

    def __init__(self):
        self.seen = asyncio.Queue()

    async def __call__(self, incarnation):
        self.seen.put_nowait(incarnation)


class Drains:
    def __init__(self, left=0):
        self.addresses = []
        self.left = left

    async def __call__(self, address, timeout_s):
        self.addresses.append(address)
        return self.left


def names(deployment):
    return [run.name for run in deployment.processes()]


async def test_who_died_unseen_is_reported_by_the_next_control(config, mode):
    """Control and a unit die together; the unit's lease need not be waited for."""
    runs = {run.name: run for run in await control_that_fails(config)}
    killed = runs["unit-1"]
    os.kill(killed.pid, signal.SIGKILL)
    await until(lambda: not is_alive(killed))
    deaths = Deaths()
    async with LocalDeployment(config, deaths, Drains()) as deployment:
        async with asyncio.timeout(5):
            assert await deaths.seen.get() == killed.incarnation
        await deployment.ready()
        assert deaths.seen.empty()


async def control_that_fails(config):
    """Leaves the children running; returns them."""
    runs = []

    async def control():
        async with LocalDeployment(config, Deaths(), Drains()) as deployment:
            await deployment.ready()
            runs.extend(deployment.processes())
            raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        await control()
    return runs


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a process outside sets nothing
            await asyncio.sleep(0.005)


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_launcher_goes_before_the_command_and_becomes_the_process(config, mode):
    launched = msgspec.structs.replace(
        config, launchers={"unit-2": "env TUPELO_LAUNCHED='by a launcher'"}
    )
    async with LocalDeployment(launched, Deaths(), Drains()) as deployment:
        await deployment.ready()
        runs = {run.name: run.pid for run in deployment.processes()}
        assert set(runs) == {"messaging", "unit-1", "unit-2"}
        said = {
            name: b"TUPELO_LAUNCHED=by a launcher" in environment_of(pid)
            for name, pid in runs.items()
        }
        assert said == {"messaging": False, "unit-1": False, "unit-2": True}


async def test_children_start_drain_and_stop_in_order(config, mode, tmp_path):
    drains = Drains()
    async with LocalDeployment(config, Deaths(), drains) as deployment:
        await deployment.ready()
        assert names(deployment) == ["messaging", "unit-1", "unit-2"]
        runs = deployment.processes()
        assert deployment.problems() == []
        assert config_path(tmp_path).exists()
    assert sorted(drains.addresses) == sorted(run.address for run in runs[1:])
    stops = (tmp_path / "stops").read_text().split()
    assert sorted(stops[:2]) == ["unit-1", "unit-2"]
    assert stops[2] == "messaging"
    assert not any(is_alive(run) for run in runs)


async def test_an_ordered_restart_is_no_death_and_is_waited_for(config, mode):
    deaths = Deaths()
    async with LocalDeployment(config, deaths, Drains()) as deployment:
        await deployment.ready()
        before = {run.name: run for run in deployment.processes()}
        between = []
        async with deployment.exclusive() as units:
            assert units == ["unit-1", "unit-2"]
            with pytest.raises(ValueError, match="already"):
                async with deployment.exclusive():
                    pass
            await deployment.restart("unit-2", lambda: between.append(names(deployment)))
        assert between == [["messaging", "unit-1"]]
        after = {run.name: run for run in deployment.processes()}
        assert after.pop("unit-2") != before.pop("unit-2")
        assert after == before
        assert deployment.problems() == []
        assert deaths.seen.qsize() == 1


async def test_a_unit_that_does_not_start_again_says_so(config, mode):
    async with LocalDeployment(config, Deaths(), Drains()) as deployment:
        await deployment.ready()
        mode["mode"] = "fatal"
        with pytest.raises(FatalStartError):
            await deployment.restart("unit-1")
        mode["mode"] = "good"
        await until(lambda: "unit-1" in names(deployment))


async def test_a_killed_unit_is_reported_at_once_and_started_again(config, mode):
    deaths = Deaths()
    async with LocalDeployment(config, deaths, Drains()) as deployment:
        await deployment.ready()
        victim = deployment.processes()[1]
        os.kill(victim.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await deaths.seen.get() == victim.incarnation
        await until(lambda: len(deployment.processes()) == 3)
        again = deployment.processes()[1]
        assert again.name == victim.name
        assert again.pid != victim.pid
        assert deployment.problems() == []


async def test_messaging_dies_without_being_a_unit(config, mode):
    deaths = Deaths()
    async with LocalDeployment(config, deaths, Drains()) as deployment:
        await deployment.ready()
        victim = deployment.processes()[0]
        os.kill(victim.pid, signal.SIGKILL)
        await until(
            lambda: len(deployment.processes()) == 3 and deployment.processes()[0].pid != victim.pid
        )
        assert deaths.seen.empty()


async def test_scale_up_and_down_takes_the_highest_numbers(config, mode):
    deaths = Deaths()
    async with LocalDeployment(config, deaths, Drains()) as deployment:
        await deployment.ready()
        assert await deployment.scale(4) == 4
        assert names(deployment) == ["messaging", "unit-1", "unit-2", "unit-3", "unit-4"]
        assert await deployment.scale(1) == 1
        assert names(deployment) == ["messaging", "unit-1"]
        assert deaths.seen.qsize() == 3
        for wrong in (0, config.units_max + 1):
            with pytest.raises(ValueError, match="units must be"):
                await deployment.scale(wrong)


async def test_scale_up_that_fails_leaves_what_there_was(config, mode):
    async with LocalDeployment(config, Deaths(), Drains()) as deployment:
        await deployment.ready()
        mode["mode"] = "fatal"
        with pytest.raises(FatalStartError, match="no store"):
            await deployment.scale(3)
        assert deployment.units == 2
        assert names(deployment) == ["messaging", "unit-1", "unit-2"]


@pytest.mark.parametrize(
    ("how", "said"),
    [("fatal", "no store"), ("crash", "exit code 7"), ("silent", "was not ready within 0.3 s")],
)
async def test_a_first_start_that_fails_stops_everything(tmp_path, config, mode, how, said):
    mode["mode"] = how
    config = msgspec.structs.replace(config, start_timeout_s=0.3 if how == "silent" else 5.0)
    deployment = LocalDeployment(config, Deaths(), Drains())
    with pytest.raises(FatalStartError, match=said) as caught:
        async with deployment:
            await deployment.ready()
    assert str(tmp_path / "logs") in caught.value.hint
    assert deployment.processes() == []


async def test_a_child_that_dies_again_and_again_stays_down(config, mode):
    async with LocalDeployment(config, Deaths(), Drains()) as deployment:
        await deployment.ready()
        mode["mode"] = "short"
        os.kill(deployment.processes()[2].pid, signal.SIGKILL)
        await until(lambda: any("stays down" in p for p in deployment.problems()))
        assert names(deployment) == ["messaging", "unit-1"]


async def test_a_stubborn_child_is_killed(config, mode):
    mode["mode"] = "stubborn"
    config = msgspec.structs.replace(config, stop_timeout_s=0.1)
    async with LocalDeployment(config, Deaths(), Drains()) as deployment:
        await deployment.ready()
        runs = deployment.processes()
    assert not any(is_alive(run) for run in runs)


async def test_children_outlive_a_failed_control_and_the_next_one_adopts_them(config, mode):
    before = await control_that_fails(config)
    assert sorted(live_processes(config.data_dir)) == ["messaging", "unit-1", "unit-2"]

    deaths = Deaths()
    async with LocalDeployment(config, deaths, Drains()) as second:
        await second.ready()
        assert second.processes() == before
        os.kill(before[2].pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await deaths.seen.get() == before[2].incarnation
        await until(lambda: len(second.processes()) == 3)
    assert live_processes(config.data_dir) == {}


async def test_processes_of_another_grid_are_not_adopted(config, mode):
    async with LocalDeployment(config, Deaths(), Drains()) as deployment:
        await deployment.ready()
        other = msgspec.structs.replace(config, port=config.port + 10)
        with pytest.raises(FatalStartError, match="still use") as caught:
            await LocalDeployment(other, Deaths(), Drains()).__aenter__()
        assert f"--port {config.port}" in caught.value.hint
        assert "tupelo down" in caught.value.hint


async def test_shutdown_counts_what_did_not_reach_the_store(config, mode):
    async with LocalDeployment(config, Deaths(), Drains(left=3)) as deployment:
        await deployment.ready()
        assert await deployment.shutdown(1.0) == 6
        assert deployment.processes() == []
        with pytest.raises(ValueError, match="shutting down"):
            await deployment.scale(3)


async def test_leftovers_are_stopped_by_their_run_files(config, mode):
    await control_that_fails(config)
    runs = list(live_processes(config.data_dir).values())
    assert len(runs) == 3
    assert stop_processes(runs, 2.0) == []
    assert not any(is_alive(run) for run in runs)


async def test_logs_have_their_place(config, mode):
    async with LocalDeployment(config, Deaths(), Drains()) as deployment:
        await deployment.ready()
        assert log_path(config.data_dir, "unit-1").exists()


def test_ready_lines_are_told_from_chatter():
    assert parse_ready_line(b'{"ready": true}\n') == {"ready": True}
    assert parse_ready_line(b"hello\n") is None
    assert parse_ready_line(b"[1]\n") is None
    assert parse_ready_line(b'{"a": 1}\n') is None


@pytest.mark.parametrize(("name", "number"), [("unit-12", 12), ("messaging", 0), ("unit-x", 0)])
def test_unit_numbers(name, number):
    assert unit_number(name) == number
