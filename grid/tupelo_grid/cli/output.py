"""What the CLI says, and how it ends: colours and tables in a terminal, plain lines in a pipe."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Of every `tupelo` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4


EXIT_CODES = """exit codes:
  0  done
  1  the operation failed
  2  wrong usage or configuration, or the grid cannot start with it
  3  the grid, or the part of it that is needed, cannot be reached
  4  no such entry, or the condition of the write did not hold"""


class CliError(Exception):
    """Ends the command: `message` says what is wrong, `hint` what to do. `told`: the command has
    printed the JSON object that was asked for, with all this in it."""

    def __init__(self, code: ExitCode, message: str, hint: str = "", told: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.told = told


def is_rich() -> bool:
    """Whether stdout is a terminal that wants colours (https://no-color.org)."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def say(text: str, style: str = "") -> None:
    """One line on stdout; `style` is rich's, for terminals only."""
    if style and is_rich():
        from rich.console import Console

        Console(highlight=False).print(text, style=style, markup=False, soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def say_error(error: CliError) -> None:
    sys.stderr.write(f"tupelo: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  {error.hint}\n")
    sys.stderr.flush()


def say_note(text: str) -> None:
    """Beside the output, on stderr."""
    sys.stderr.write(f"tupelo: {text}\n")
    sys.stderr.flush()


def error_dict(error: CliError) -> dict[str, Any]:
    """What a command with --json that fails prints as its last line."""
    words = {"code": int(error.code), "message": error.message, "hint": error.hint}
    return {"error": words}


def counted(number: int, noun: str, many: str = "") -> str:
    """1 unit, 2 units."""
    return f"{number} {noun if number == 1 else many or noun + 's'}"


def say_warning(text: str) -> None:
    if is_rich():
        say(f"! {text}", "yellow")
    else:
        say(f"warning: {text}")


def say_json(value: Any) -> None:
    """One object on one line, the last one of the command."""
    say(json.dumps(value, ensure_ascii=False))


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    title: str = "",
    right: int = 1,
    spare: int = 0,
) -> None:
    """Columns from the one numbered `right` on hold numbers and are aligned to the right.

    So many of the last ones as `spare` says are left out in a terminal that is too narrow.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if is_rich():
        from rich.console import Console

        console = Console()
        shown = fitting(columns, cells, spare, console.width)
        cells = [row[:shown] for row in cells]
        console.print(rich_table(columns[:shown], cells, title, right))
        return
    if title:
        say(title)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [list(columns), *cells]:
        padded = (
            cell.rjust(width) if index >= right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        say("  ".join(padded).rstrip())


def fitting(columns: Sequence[str], cells: Sequence[Sequence[str]], spare: int, width: int) -> int:
    """How many columns of a `rich_table` to show so that its lines are not broken."""
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    shown = len(columns)
    while shown > len(columns) - spare and sum(widths[:shown]) + 2 * shown > width:
        shown -= 1
    return shown


def rich_table(
    columns: Sequence[str], cells: Sequence[Sequence[str]], title: str, right: int
) -> Any:
    """A rich.table.Table; for a terminal, or as a part of a live display."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title or None,
        box=SIMPLE_HEAD,
        title_justify="left",
        header_style="bold",
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index >= right else "left")
    for row in cells:
        table.add_row(*row)
    return table


def human_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_fields(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return str(value)
