"""Settings of a client, and the one thing that must be decided before grpc is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import Final, Literal

import msgspec

from tupelo.seconds import is_seconds

# On grpcio 1.85 the event engine costs a client nearly half of its CPU and a third of its latency
# (DESIGN section 4; grpc/grpc#43092, #42828). Flags come and go with releases, so this default is
# measured by benchmarks/sdk.py and can be overridden, or emptied, from the environment.
GRPC_EXPERIMENTS_DEFAULT: Final = "-event_engine_client,-event_engine_listener"
GRPC_EXPERIMENTS_VARIABLE: Final = "TUPELO_GRPC_EXPERIMENTS"


def set_grpc_experiments(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Sets GRPC_EXPERIMENTS from TUPELO_GRPC_EXPERIMENTS, or to our default when that is not set.

    An existing GRPC_EXPERIMENTS is left alone, and so is a process that has already imported grpc,
    since the variable is read once. Returns whether it was set. An empty TUPELO_GRPC_EXPERIMENTS
    keeps grpc as it comes.
    """
    if "GRPC_EXPERIMENTS" in environ or "grpc" in sys.modules:
        return False
    flags = environ.get(GRPC_EXPERIMENTS_VARIABLE, GRPC_EXPERIMENTS_DEFAULT)
    if flags:
        environ["GRPC_EXPERIMENTS"] = flags
    return bool(flags)


class ClientConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one client (`tupelo.connect(..., config=ClientConfig(...))`).

    Attributes:
        timeout_s: of a call that names none; retries included.
        connect_timeout_s: how long `connect` looks for a grid, and a unit's channel for the unit.
        route_timeout_s: of one request for the partition table.
        route_interval_s: two requests for the table are at least so far apart.
        routing: "smart" sends every operation to its partition's primary; "router" sends all to
            the first seed that answers, for clients that can reach a router but not the units.

        frames_in_flight: unanswered requests to one unit. With 1, frames fill themselves under
            load; more trade CPU for latency on slow links.
        frame_ops_max: operations in one frame; at most the grid's batch_ops_max.
        frame_bytes_max: keys and values in one frame, except that one operation always fits.
        message_bytes_max: of one gRPC message; the grid's message_bytes_max.
        queue_ops_max: calls that wait for one unit; a further one raises Overloaded.
        queue_batches_max: bulk batches that wait for one unit; a further one raises Overloaded.
        session_window: operations between the oldest unanswered one and the newest. Below the
            grid's session_window by a margin; when it is full, a new session is begun.

        retry_ratio: retries allowed per operation, on average.
        retry_burst: retries allowed at once, after a time without any.
        retry_per_s: retries allowed per second whatever the number of operations.
        backoff_base_s, backoff_max_s: the pause before retry n is drawn evenly from
            0 to min(backoff_max_s, backoff_base_s * 2**n) ("full jitter"); 1.3**n while a
            partition is between two owners.
        stall_s: after so long without an answer the partition table is asked for, again and again,
            and what has moved to another unit is sent there.
        sweep_s: how precisely deadlines are kept.

        scan_page_size: entries that a scan asks one partition for.
        scan_partitions: partitions that a scan, or a count, asks at the same time.
        bulk_items_max: entries of one put_many, get_many or delete_many.
        turn_items_max: entries of such calls that are made into requests in one turn of the event
            loop; the others wait for the next, behind what is ready to be sent and other tasks. A
            call with more has a turn of its own. Of no meaning to the synchronous client.

        near_heartbeat_s: near caches ask each unit so often whether they know everything.

        keepalive_s, keepalive_timeout_s: of idle connections: ping after, and give up after.
    """

    timeout_s: float = 10.0
    connect_timeout_s: float = 5.0
    route_timeout_s: float = 1.0
    route_interval_s: float = 0.05
    routing: Literal["smart", "router"] = "smart"

    frames_in_flight: int = 1
    frame_ops_max: int = 4096
    frame_bytes_max: int = 4 * 1024 * 1024
    message_bytes_max: int = 16 * 1024 * 1024
    queue_ops_max: int = 16_384
    queue_batches_max: int = 4096
    session_window: int = 65_536 - 8192

    retry_ratio: float = 0.2
    retry_burst: int = 20_000
    retry_per_s: float = 1000.0
    backoff_base_s: float = 0.01
    backoff_max_s: float = 1.0
    stall_s: float = 1.0
    sweep_s: float = 0.02

    scan_page_size: int = 500
    scan_partitions: int = 16
    bulk_items_max: int = 1_000_000
    turn_items_max: int = 8000

    near_heartbeat_s: float = 0.25

    keepalive_s: float = 10.0
    keepalive_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name.endswith("_s") and not name.endswith("_per_s"):
                if not is_seconds(value):
                    raise ValueError(f"{name} must be above 0, and finite, not {value!r}")
            elif isinstance(value, int | float) and not value > 0 and name != "retry_ratio":
                raise ValueError(f"{name} must be above 0, not {value!r}")
        if self.frame_ops_max > self.session_window:
            raise ValueError("frame_ops_max must not be above session_window")
        if self.routing not in ("smart", "router"):
            raise ValueError(f'routing must be "smart" or "router", not {self.routing!r}')
