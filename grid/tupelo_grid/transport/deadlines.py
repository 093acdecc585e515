"""How long a call may be worked on, so that its answer still arrives in time."""

from __future__ import annotations

from typing import Any, Final

import grpc.aio

from tupelo_grid.config import GridConfig

# Kept back for the way of the answer: an error of ours says more than gRPC's DEADLINE_EXCEEDED.
ANSWER_SHARE: Final = 0.1
ANSWER_S_MAX: Final = 0.1


def time_left_s(context: grpc.aio.ServicerContext[Any, Any]) -> float | None:
    """Of the deadline that the caller gave the RPC; None where it gave none. Never below 0."""
    left_s = context.time_remaining()
    if left_s is None:
        return None
    return max(0.0, left_s - min(ANSWER_S_MAX, left_s * ANSWER_SHARE))


def row_timeout_s(context: grpc.aio.ServicerContext[Any, Any], config: GridConfig) -> float:
    """For a call that has no other deadline than that of its RPC."""
    left_s = time_left_s(context)
    return config.request_timeout_s if left_s is None else min(left_s, config.request_timeout_s_max)
