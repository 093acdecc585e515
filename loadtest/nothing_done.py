"""A locust run that made no request is no success: it says why, and fails."""

from __future__ import annotations

import logging
from typing import Any

log = logging.getLogger(__name__)


class NothingDone:
    """Listens to a run of locust: register `on_start` for test_start, `on_quitting` for quitting.

    Args:
        default_host: where the grid is looked for without --host.
    """

    def __init__(self, default_host: str) -> None:
        self._default = default_host
        self._started = False

    def on_start(self, environment: Any, **_: Any) -> None:
        self._started = True
        if not environment.host and not is_worker(environment):
            log.warning("no --host HOST:PORT is given: the grid is looked for at %s", self._default)

    def on_quitting(self, environment: Any, **_: Any) -> None:
        """A worker leaves it to its master, and a web UI in which nothing was started is fine."""
        if not self._started or is_worker(environment) or environment.stats.total.num_requests:
            return
        log.error(
            "no request was made: nobody answered at %s before the run was over; does a grid run "
            "there (`tupelo status`), and is --host right?",
            environment.host or self._default,
        )
        environment.process_exit_code = 1


def is_worker(environment: Any) -> bool:
    """By its name: an import of locust patches the standard library."""
    return type(environment.runner).__name__ == "WorkerRunner"
