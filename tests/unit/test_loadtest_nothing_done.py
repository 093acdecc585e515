"""A load test that made no request fails, and says why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from loadtest.nothing_done import NothingDone


class LocalRunner:
    pass


class WorkerRunner:
    pass


def environment(requests: int, host: str | None, runner: Any) -> Any:
    stats = SimpleNamespace(total=SimpleNamespace(num_requests=requests))
    return SimpleNamespace(stats=stats, host=host, runner=runner, process_exit_code=None)


@pytest.mark.parametrize(
    ("requests", "runner", "started", "code"),
    [
        (0, LocalRunner(), True, 1),
        (3, LocalRunner(), True, None),
        # Its master knows what all workers did, and the web UI may be closed before any run.
        (0, WorkerRunner(), True, None),
        (0, LocalRunner(), False, None),
    ],
)
def test_a_run_without_requests_fails(
    requests: int, runner: Any, started: bool, code: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    env = environment(requests, "nowhere:1", runner)
    listener = NothingDone("127.0.0.1:7400")
    if started:
        listener.on_start(env)
    listener.on_quitting(env)
    assert env.process_exit_code == code
    assert ("nobody answered at nowhere:1" in caplog.text) == (code is not None)


def test_a_host_that_was_not_given_is_said(caplog: pytest.LogCaptureFixture) -> None:
    listener = NothingDone("127.0.0.1:7400")
    listener.on_start(environment(0, "nowhere:1", LocalRunner()))
    assert not caplog.text
    listener.on_start(environment(0, None, LocalRunner()))
    assert "no --host HOST:PORT is given: the grid is looked for at 127.0.0.1:7400" in caplog.text
