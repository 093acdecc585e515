"""Pictures of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

OURS: Final = "#c2410c"
THEIRS: Final = "#64748b"
DPI: Final = 130


def plot(result: dict[str, Any], out: Path) -> list[Path]:
    """One PNG for each group of shapes that the result has; their paths."""
    groups: dict[str, list[str]] = {}
    for row in result["rows"]:
        if "ops_s" in row:
            groups.setdefault(_group(row["shape"]), []).append(row["shape"])
    return [
        _throughput(result["rows"], name, list(dict.fromkeys(shapes)), out / f"peers-{name}.png")
        for name, shapes in groups.items()
    ]


def _group(shape: str) -> str:
    op, _, size = shape.split("/")
    if op.startswith("ycsb"):
        return op.split("-")[2]
    kind = {"get": "plain", "put": "plain", "collocate": "collocation"}.get(op, "batch")
    return kind if size == "100" else f"{kind}1k"


def _throughput(rows: list[dict[str, Any]], name: str, shapes: list[str], path: Path) -> Path:
    """A panel for each shape: operations a second, with the least and greatest round."""
    columns = 2
    lines = -(-len(shapes) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(11, 0.8 + 2.9 * lines), squeeze=False, constrained_layout=True
    )
    for axis, shape in zip(axes.flat, shapes, strict=False):
        _panel(axis, shape, _of_one_placement([row for row in rows if row["shape"] == shape]))
    for axis in axes.flat[len(shapes) :]:
        axis.axis("off")
    figure.suptitle(f"{name}: operations/s, median of rounds; whiskers: least and greatest round")
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)
    return path


def _of_one_placement(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several placements and runs the first, so that a system is there once."""
    once: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        once.setdefault((row["system"], row["way"]), row)
    return sorted(once.values(), key=lambda row: float(row["ops_s"]))


def _panel(axis: Any, shape: str, rows: list[dict[str, Any]]) -> None:
    labels = [f"{row['system']} {row['way']}".strip() for row in rows]
    rates = [row["ops_s"] for row in rows]
    spread = [
        [rate - min(row["rounds"]) for rate, row in zip(rates, rows, strict=True)],
        [max(row["rounds"]) - rate for rate, row in zip(rates, rows, strict=True)],
    ]
    colours = [OURS if row["system"] == "tupelo" else THEIRS for row in rows]
    axis.barh(labels, rates, color=colours, height=0.7)
    # A median of rounds that was rounded may lie outside of them by less than one.
    spread = [[max(0.0, each) for each in side] for side in spread]
    axis.errorbar(rates, labels, xerr=spread, fmt="none", ecolor="#111827", elinewidth=1)
    for label, rate, row in zip(labels, rates, rows, strict=True):
        # Behind the whisker.
        axis.text(max(row["rounds"]), label, f"  {rate:,.0f}", va="center", fontsize=7)
    op, depth, size = shape.split("/")
    axis.set_title(f"{op}, {depth} in flight, {size} B ({rows[0]['placement']})", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.margins(x=0.22)
    axis.spines[["top", "right"]].set_visible(False)
