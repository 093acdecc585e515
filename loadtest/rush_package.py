"""The rush unit's package, found by its folder as a grid finds it."""

from __future__ import annotations

from pathlib import Path

from tupelo_grid.units.loader import load_unit

FOLDER = Path(__file__).resolve().parent.parent / "processing-units" / "rush"
load_unit(FOLDER)

from rush import unit  # noqa: E402  importable from here on

__all__ = ["unit"]
