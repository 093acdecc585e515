"""What a unit's word about stored writes becomes. Pure: shared by both clients and the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tupelo.errors import NotPersisted
from tupelo.v1.data_pb2 import WaitPersistedResponse

STORED: Final = 1
PENDING: Final = 2
DEAD_LETTER: Final = 3
WRONG_OWNER: Final = 4
UNKNOWN: Final = 5

_WRITTEN: Final = "the write is in the grid and must not be repeated, but the store "


def not_persisted(
    response: WaitPersistedResponse, states: Sequence[int] | None = None
) -> NotPersisted | None:
    """None when everything asked for is stored.

    Args:
        states: instead of the response's own.
    """
    states = response.states if states is None else states
    if DEAD_LETTER in states:
        errors = [error for error in response.errors if error]
        why = errors[0] if errors else "no reason given"
        return NotPersisted(
            f"{_WRITTEN}refused it, and it is a dead letter (tupelo dead-letters list): {why}",
            {"dead_letter": why},
        )
    if UNKNOWN in states:
        errors = [error for error in response.errors if error]
        return NotPersisted(f"there is no such write: {errors[0] if errors else 'wrong token'}")
    if not states or any(state != STORED for state in states):
        return late(response)
    return None


def late(response: WaitPersistedResponse | None, problem: str = "") -> NotPersisted:
    """The time is over. `problem`: why nobody could be asked."""
    if response is None:
        return NotPersisted(f"{_WRITTEN}could not be asked about it in time: {problem}")
    fields: dict[str, Any] = {
        "lag_records": response.lag_records,
        "lag_bytes": response.lag_bytes,
        "lag_s": response.lag_s,
        "cause": response.cause,
    }
    cause = response.cause or problem or "none is known"
    return NotPersisted(
        f"{_WRITTEN}does not have it yet: its partition is {response.lag_records} records "
        f"({response.lag_bytes} bytes, {response.lag_s:.1f} s) behind; the store's last error: "
        f"{cause}",
        fields,
    )
