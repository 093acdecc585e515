"""What the command line may hold: numbers, texts, lists. For argparse: each raises CliError."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from tupelo.seconds import SECONDS_MAX

from tupelo_grid.cli.output import CliError, ExitCode

TIMEOUT_S_MAX = 30 * 86_400
VERSION_MAX = 2**64 - 1
LIMIT_MAX = 2**32 - 1
PARTITIONS_MAX = 4096
RANGES_SHOWN = 16
_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def seconds(text: str, option: str = "--timeout") -> float:
    """Above 0, as of a timeout."""
    value = _number(text, option)
    if not 0 < value <= TIMEOUT_S_MAX:
        _refuse(f"{option} must be above 0 and at most {TIMEOUT_S_MAX:,} seconds, not {text}")
    return value


def ttl(text: str) -> float:
    """0 for no end."""
    value = _number(text, "--ttl")
    if not 0 <= value <= SECONDS_MAX:
        _refuse(f"--ttl must be 0 (for ever) to {SECONDS_MAX:,} seconds (100 years), not {text}")
    if 0 < value < 0.001:
        _refuse(f"--ttl must be 0.001 seconds or more, or 0 for ever, not {text}")
    return value


def version(text: str) -> int:
    """Of an entry."""
    return _whole(text, "a version", 1, VERSION_MAX)


def limit(text: str) -> int:
    """0 for all."""
    return _whole(text, "--limit", 0, LIMIT_MAX)


def as_json(text: str, what: str = "KEY") -> str:
    """`text` when it is JSON, else the JSON of it as a string. `what` it is, for CliError."""
    try:
        value, found = json.loads(text, parse_constant=_no_constant), text
    except (ValueError, RecursionError):
        value, found = text, json.dumps(text)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        _refuse(f"{what} has bytes or surrogates that are no UTF-8 text")
    except ValueError:
        _refuse(f"{what} has a number that is too large")
    return found


def as_ranges(numbers: Iterable[int]) -> str:
    """[0, 1, 2, 7] as "0-2, 7"; the first ones of many."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(words[:RANGES_SHOWN]) + (", ..." if len(words) > RANGES_SHOWN else "")


def parse_ranges(text: str) -> list[int]:
    """ "0-2,7" as [0, 1, 2, 7]. Raises CliError."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < PARTITIONS_MAX:
            raise CliError(
                ExitCode.USAGE,
                f"{text!r} names no partitions",
                "write one as 17, several as 1-255 or 3,7,20-31, or give --all-lost",
            )
        numbers.update(range(first, last + 1))
    return sorted(numbers)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        _refuse(f"{what} must be a number, not {text}")
    return value


def _whole(text: str, what: str, lowest: int, highest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = lowest - 1
    if not lowest <= value <= highest:
        _refuse(f"{what} is a whole number from {lowest} to {highest}, not {text}")
    return value


def _refuse(message: str) -> Any:
    raise CliError(ExitCode.USAGE, message)
