"""Pictures of what was measured, each small enough to be kept in a repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

DPI: Final = 100
COLORS: Final = {"airline": "tab:blue", "ycsb-b": "tab:orange", "ycsb-a": "tab:green"}

Found = Mapping[str, Any]


def scale(part: str, found: Found, path: Path) -> None:
    """Of one part of loadtest.scale, as its JSON has it."""
    pictures: dict[str, Callable[[Found, Path], None]] = {
        "units": units,
        "data": data,
        "backups": backups,
    }
    pictures[part](found, path)


def units(found: Found, path: Path) -> None:
    figure, (cost, balance, model) = plt.subplots(1, 3, figsize=(13, 4))
    rows = found["units"]
    for mix in dict.fromkeys(row["case"]["mix"] for row in rows):
        own = [row for row in rows if row["case"]["mix"] == mix]
        counts = [row["case"]["units"] for row in own]
        style = {"color": COLORS[mix], "label": mix}
        cost.plot(counts, [row["unit_us"] for row in own], "o-", **style)
        balance.plot(counts, [row["balance"] for row in own], "o-", **style)
        for row in own:
            model.plot([row["case"]["units"]] * len(row["points"]), row["points"], ".", **style)
            style.pop("label", None)
        if mix in found["model"]:
            said = found["model"][mix]["modelled_ops_s"]
            model.plot(list(map(int, said)), list(said.values()), "--", color=COLORS[mix])
    _label(cost, "CPU time for a call: MEASURED", "units (sharing the cores)", "us, all units")
    _label(balance, "balance: MEASURED", "units", "mean CPU time / busiest unit's")
    balance.set_ylim(0, 1.05)
    cost.set_ylim(bottom=0)
    _label(model, "a core for each unit: MODELLED", "units", "calls/s (dots: from measured cost)")
    model.set_xscale("log", base=2)
    model.set_yscale("log")
    _save(figure, found, path)


def data(found: Found, path: Path) -> None:
    figure, (cost, memory) = plt.subplots(1, 2, figsize=(9, 4))
    counts = [row["case"]["entries"] for row in found["data"]]
    cost.plot(counts, [row["unit_us"] for row in found["data"]], "o-")
    memory.plot(counts, [row["bytes_per_entry"] for row in found["data"]], "o-")
    _label(cost, "CPU time for a call (YCSB B)", "entries", "us, all units")
    _label(memory, "memory of an entry (100-byte value)", "entries", "bytes, one copy")
    for axes in (cost, memory):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
    _save(figure, found, path)


def backups(found: Found, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(5, 4))
    rows = found["backups"]
    axes.bar([str(row["case"]["backups"]) for row in rows], [row["unit_us"] for row in rows])
    _label(axes, "CPU time for a call (YCSB A)", "backups", "us, all units", legend=False)
    _save(figure, found, path)


NAMES: Final = {"database": "service on PostgreSQL", "grid": "grid, PostgreSQL behind"}
SYSTEM_COLORS: Final = {"database": "tab:red", "grid": "tab:blue"}


def impact(found: Found, folder: Path) -> None:
    """impact.png and impact-crash.png of what there is."""
    if any(system in found for system in NAMES):
        _ladders(found, folder / "impact.png")
    if "crash" in found:
        _crashes(found, folder / "impact-crash.png")


def _ladders(found: Found, path: Path) -> None:
    figure, grid = plt.subplots(2, 2, figsize=(10, 7))
    served, latency, errors, cpu = grid.flat
    for system, name in NAMES.items():
        if system not in found:
            continue
        steps = found[system]["steps"]
        offered = [step["offered_s"] for step in steps]
        style = {"color": SYSTEM_COLORS[system], "label": name}
        served.plot(offered, [step["ops_s"] for step in steps], "o-", **style)
        latency.plot(offered, [step["p99_us"] / 1000 for step in steps], "o-", **style)
        del style["label"]
        latency.plot(offered, [step["p50_us"] / 1000 for step in steps], ".:", **style)
        errors.plot(offered, [100 * step["error_share"] for step in steps], "o-", **style)
        used = [step["cpu"]["database"] / step["seconds"] for step in steps]
        cpu.plot(offered, used, "o-", **style)
        if found[system]["broke_at"]:
            for axes in grid.flat:
                axes.axvline(found[system]["broke_at"], linestyle="--", alpha=0.4, **style)
    x = "customers/s offered (dashed: broken)"
    _label(served, "calls answered", x, "calls/s")
    _label(latency, "latency: p99 (dotted: p50)", x, "ms")
    _label(errors, "errors", x, "% of calls")
    _label(cpu, "CPU of PostgreSQL", x, "cores")
    latency.set_yscale("log")
    for axes in grid.flat:
        axes.set_xscale("log")
        _plain_numbers(axes)
    _save(figure, found, path)


def _plain_numbers(axes: Axes) -> None:
    """On a logarithmic x axis of some hundreds to ten thousands: 200, 500, 1000 ..."""
    low, high = axes.get_xlim()
    ticks = [base * 10**power for power in range(1, 6) for base in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _crashes(found: Found, path: Path) -> None:
    crashes = found["crash"]
    figure, grid = plt.subplots(2, len(crashes), figsize=(3.2 * len(crashes), 6), squeeze=False)
    for (above, below), crash in zip(zip(*grid, strict=True), crashes, strict=True):
        color = SYSTEM_COLORS[crash["system"]]
        seconds = [moment[0] for moment in crash["moments"]]
        above.plot(seconds, [moment[1] for moment in crash["moments"]], color=color)
        above.plot(seconds, [moment[2] for moment in crash["moments"]], "k:", label="failed")
        below.plot(seconds, [moment[3] / 1000 for moment in crash["moments"]], color=color)
        below.set_yscale("log")
        below.set_ylim(0.1, 1e4)
        above.set_ylim(bottom=0)
        for axes in (above, below):
            axes.axvline(0, color="k", linewidth=0.8)
        what = f"{crash['system']}: {crash['what']} killed"
        _label(above, what, "s after the crash", "calls/s")
        _label(below, f"not well for {crash['hurt_s']:.1f} s", "s after the crash", "p99, ms")
    _save(figure, found, path)


def _label(axes: Axes, title: str, x: str, y: str, legend: bool = True) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _save(figure: Any, found: Found, path: Path) -> None:
    figure.suptitle(f"{found['cpus']} CPUs: {found['placement']}", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
