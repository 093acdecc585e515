"""Settings, seeds, and what has to happen before grpc is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tupelo import ClientConfig
from tupelo.config import GRPC_EXPERIMENTS_DEFAULT
from tupelo.errors import InvalidArgument
from tupelo.seeds import client_config, seeds_of

ROOT = Path(__file__).resolve().parent.parent.parent


def test_settings_go_over_those_of_the_config() -> None:
    config = client_config(ClientConfig(timeout_s=3.0, frames_in_flight=2), {"timeout_s": 1})
    assert (config.timeout_s, config.frames_in_flight) == (1.0, 2)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"timeout": 1}, "no such setting: timeout"),
        ({"timeout_s": "soon"}, "a setting is wrong"),
        ({"timeout_s": 0}, "must be above 0"),
        ({"routing": "clever"}, "a setting is wrong"),
        ({"frame_ops_max": 100_000}, "session_window"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        client_config(None, settings)


def test_every_setting_is_described() -> None:
    described = (ClientConfig.__doc__ or "").split("Attributes:")[1]
    for name in ClientConfig.__struct_fields__:
        assert name in described


def test_seeds_may_leave_out_the_port_and_come_once() -> None:
    assert seeds_of("localhost", "a:1", "localhost:7400") == ("localhost:7400", "a:1")
    assert seeds_of("[::1]", "[::1]:80") == ("[::1]:7400", "[::1]:80")


@pytest.mark.parametrize("seed", ["", "host:", "host:0", "host:70000", ":7400", "host:port"])
def test_a_wrong_seed_is_an_invalid_argument(seed: str) -> None:
    with pytest.raises(InvalidArgument, match="a seed is"):
        seeds_of(seed)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, GRPC_EXPERIMENTS_DEFAULT),
        ({"TUPELO_GRPC_EXPERIMENTS": ""}, ""),
        ({"TUPELO_GRPC_EXPERIMENTS": "tcp_frame_size_tuning"}, "tcp_frame_size_tuning"),
        ({"GRPC_EXPERIMENTS": "tcp_frame_size_tuning"}, "tcp_frame_size_tuning"),
    ],
)
def test_grpc_experiments_are_a_setting(environment: dict[str, str], expected: str) -> None:
    code = "import tupelo, os; print(os.environ.get('GRPC_EXPERIMENTS', ''))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "client"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


def test_the_sync_client_is_what_the_async_source_makes() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_sync.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
