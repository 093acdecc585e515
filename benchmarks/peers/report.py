"""The results as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.results import TARGETS, met


def markdown(result: dict[str, Any]) -> str:
    rows = result["rows"]
    parts = [_machine(result["machine"]), *_ratios(result["ratios"]), *_matrix(rows), *_rows(rows)]
    return "\n".join([*parts, *_about(result["about"]), *_missing(result["missing"])]) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"Linux {machine['kernel']}, {machine['date']}\n"
    )


def _ratios(ratios: dict[str, Any]) -> list[str]:
    if not ratios:
        return []
    lines = ["| | median | least to greatest | target | reached |", "|---|---|---|---|---|"]
    for name, found in ratios.items():
        value = found.get("ratio", found.get("value"))
        spread = f"{found['least']} to {found['greatest']}" if "least" in found else ""
        reached = {True: "yes", False: "**no**", None: ""}[met(name, value)]
        lines.append(
            f"| {name} (`{found['shape']}`) | {value} | {spread} | {TARGETS.get(name, '')} "
            f"| {reached} |"
        )
    return [*lines, ""]


def _matrix(rows: list[dict[str, Any]]) -> list[str]:
    """Operations a second of all systems at a glance, one table for each run and placement."""
    lines: list[str] = []
    timed = [row for row in rows if "ops_s" in row]
    for run, placement in dict.fromkeys((row["run"], row["placement"]) for row in timed):
        here = [row for row in timed if (row["run"], row["placement"]) == (run, placement)]
        names = list(dict.fromkeys(_name(row) for row in here))
        lines += [f"operations/s, {placement} (run {run})", ""]
        lines += [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for shape in dict.fromkeys(row["shape"] for row in here):
            found = {_name(row): f"{row['ops_s']:,.0f}" for row in here if row["shape"] == shape}
            lines.append(f"| `{shape}` | {' | '.join(found.get(name, '') for name in names)} |")
        lines.append("")
    return lines


def _name(row: dict[str, Any]) -> str:
    return f"{row['system']} {row['way']}".strip()


def _rows(rows: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for place in dict.fromkeys((row["placement"], row["shape"], row["run"]) for row in rows):
        here = [row for row in rows if (row["placement"], row["shape"], row["run"]) == place]
        lines += _memory(here) if "bytes_entry" in here[0] else _table(place, here)
    return lines


def _table(place: tuple[str, str, str], rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"`{place[1]}`, {place[0]} (run {place[2]})",
        "",
        "| system | operations/s | least to greatest | p50 us | p99 us | client us/op "
        "| data us/op | all servers us/op |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -float(row["ops_s"])):
        spread = f"{min(row['rounds']):,} to {max(row['rounds']):,}"
        name = _name(row)
        if row.get("lost"):
            name += f" (lost {row['lost']:,.0f} updates)"
        lines.append(
            f"| {name} | {row['ops_s']:,.0f} | {spread} | {row['p50_us']:,.0f} "
            f"| {row['p99_us']:,.0f} | {row['client_us_op']:.1f} | {row['data_us_op']:.1f} "
            f"| {row['server_us_op']:.1f} |"
        )
    return [*lines, ""]


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| system | bytes per entry of 100 bytes and copy |", "|---|---|"]
    lines += [f"| {row['system']} | {row['bytes_entry']:,.0f} |" for row in rows]
    return [*lines, ""]


def _about(about: dict[str, dict[str, str]]) -> list[str]:
    lines = ["| system | version | copies | durability | client |", "|---|---|---|---|---|"]
    for name, found in about.items():
        words = [found[part] for part in ("version", "replication", "durability", "client")]
        lines.append(f"| {name} | {' | '.join(words)} |")
    return [*lines, ""]


def _missing(missing: dict[str, str]) -> list[str]:
    return [f"Not measured: {name}: {why}" for name, why in missing.items()]
