"""Durations that callers give, checked: one rule for every timeout and time to live."""

from __future__ import annotations

from typing import Any, Final

from tupelo.errors import InvalidArgument

SECONDS_MAX: Final = 100 * 365 * 86_400


def is_seconds(value: Any) -> bool:
    """Whether it is a number above 0 and at most a hundred years: no bool, no NaN, not infinite."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 < value <= SECONDS_MAX  # NaN is neither
    )


def check_seconds(name: str, value: Any) -> float:
    """The value. Raises InvalidArgument where `is_seconds` does not hold."""
    if not is_seconds(value):
        raise InvalidArgument(
            f"{name} is a number of seconds above 0 and at most {SECONDS_MAX}, not {value!r:.100}"
        )
    seconds: float = value
    return seconds


def timeout(timeout_s: Any) -> float:
    """A call's own `timeout_s`. Raises InvalidArgument."""
    return check_seconds("timeout_s", timeout_s)


def ttl_ms(ttl_s: Any) -> int:
    """Milliseconds of a `ttl_s`, at least 1. Raises InvalidArgument."""
    return max(1, round(check_seconds("ttl_s", ttl_s) * 1000))
