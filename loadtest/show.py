"""What the demo shows: its steps while they work, a summary, and what to do next.

A terminal gets a live display; a pipe gets one line a step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtest.figures import Demo, percentile, result_of, total_of


class Step:
    """One line of the display, while the step works."""

    def __init__(self, progress: Progress, task: TaskID, total_s: float | None) -> None:
        self._progress = progress
        self._task = task
        self._total_s = total_s
        self.text = ""

    def advance(self, elapsed_s: float) -> None:
        if self._total_s is not None:
            self._progress.update(self._task, completed=min(elapsed_s, self._total_s))

    def note(self, text: str) -> None:
        """What the step found, beside its name."""
        self.text = text
        self._progress.update(self._task, note=text)


class Show:
    """Use as a context manager around the steps."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._started = time.monotonic()

    def __enter__(self) -> Show:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, text: str, total_s: float | None = None) -> Iterator[Step]:
        task = self._progress.add_task(text, total=total_s, note="")
        step = Step(self._progress, task, total_s)
        started = time.monotonic()
        yield step
        self._progress.update(task, total=total_s or 1.0, completed=total_s or 1.0)
        if not self._console.is_terminal:
            seconds = time.monotonic() - started
            note = f": {step.text}" if step.text else ""
            self._plain(f"[{seconds:5.1f} s] {text}{note}")

    @contextmanager
    def lone_step(self, text: str) -> Iterator[None]:
        """A step after the display has ended."""
        if self._console.is_terminal:
            with self._console.status(text):
                yield
        else:
            yield
        self._plain(f"{text}: done")

    def summary(self, demo: Demo) -> None:
        total, result = total_of(demo.load), result_of(demo)
        self._table("load", ("operation", "count", "errors", "p50 ms", "p99 ms"), _load_rows(demo))
        rows = [
            (unit["id"], f"{unit['entries']:,}", str(unit["primaries"]), str(unit["backups"]))
            for unit in demo.status["units"]
        ]
        self._table("grid", ("unit", "entries", "primaries", "backups"), rows)
        good = result["mismatches"] == result["errors"] == 0
        self._console.print(
            f"{total['ops_s']:,.0f} operations/s, p50 {total['p50_ms']:g} ms, "
            f"p99 {total['p99_ms']:g} ms; {result['entries']:,} entries, {result['rows']:,} rows "
            f"in the store, {result['lag_records']} behind; {result['mismatches']} mismatches, "
            f"{result['errors']} errors; {time.monotonic() - self._started:.0f} s in all",
            style="bold green" if good else "bold red",
            soft_wrap=True,
        )

    def kept(self, address: str, data_dir: Path) -> None:
        port = address.rpartition(":")[2]
        shown = (
            data_dir.relative_to(Path.cwd()) if data_dir.is_relative_to(Path.cwd()) else data_dir
        )
        self._plain(f"the grid stays up on {address}. Look at it, use it, load it, stop it:")
        for line in (
            f".venv/bin/tupelo status --watch --port {port}",
            f".venv/bin/tupelo spaces --port {port}",
            f".venv/bin/tupelo scan flights --limit 5 --port {port}",
            f".venv/bin/locust -f loadtest/locustfile.py --host {address}",
            f".venv/bin/tupelo down --data-dir {shown}",
        ):
            self._plain(f"  {line}")

    def failure(self, text: str, logs: Path) -> None:
        self._console.print(f"the demo failed: {text}", style="bold red", markup=False)
        self._plain(f"logs: {logs}")

    def _table(self, title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", header_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def _plain(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _load_rows(demo: Demo) -> list[tuple[str, ...]]:
    rows = []
    for entry in sorted(demo.load, key=lambda entry: -entry["num_requests"]):
        times: dict[float, int] = {float(k): v for k, v in entry["response_times"].items()}
        counts: list[Any] = [entry["num_requests"], entry["num_failures"]]
        percentiles = [percentile(times, 0.5), percentile(times, 0.99)]
        figures = [f"{count:,}" for count in counts] + [f"{ms:g}" for ms in percentiles]
        rows.append((entry["name"], *figures))
    return rows
