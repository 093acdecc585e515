"""What is said of a processing unit that cannot be loaded."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tupelo_grid.runtime.errors import FatalStartError

TRACEBACK_FRAMES_MAX: Final = 3


class UnitLoadError(FatalStartError):
    """A processing unit cannot be loaded."""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


def import_failed(
    what: str, error: BaseException, is_its_own: Callable[[Path], bool]
) -> UnitLoadError:
    """With the last frames that are the unit's own: the rest is import machinery.

    `what`: the module and where it was to come from. `is_its_own`: of a frame's file.
    """
    frames = [
        f"{Path(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if is_its_own(Path(frame.filename))
    ]
    lines = [
        f"importing {what} failed: {type(error).__name__}: {error}",
        *(f"  at {frame}" for frame in frames[-TRACEBACK_FRAMES_MAX:]),
    ]
    if isinstance(error, ModuleNotFoundError):
        hint = f"install {error.name!r} where the grid runs, or do without it"
    else:
        hint = "correct the code; the unit's own tests show it without a grid"
    return UnitLoadError("\n".join(lines), hint)
