"""All ways in, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tests.fuzz.front import FRONT
from tests.fuzz.near import NEAR
from tests.fuzz.servers import SERVERS
from tests.fuzz.wire import WIRE

TARGETS: Final[dict[str, Any]] = {kind.name: kind for kind in (*FRONT, *NEAR, *WIRE, *SERVERS)}


def targets_of(names: str) -> Sequence[Any]:
    """Of names with commas between; all for "". Raises ValueError for one there is not."""
    chosen = [name for name in names.split(",") if name]
    strange = [name for name in chosen if name not in TARGETS]
    if strange:
        raise ValueError(f"no target is called {strange[0]!r}; there are: {', '.join(TARGETS)}")
    return [TARGETS[name] for name in chosen] or list(TARGETS.values())
