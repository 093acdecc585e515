"""Makes client/tupelo/_sync from client/tupelo/_async.

    python scripts/make_sync.py            write
    python scripts/make_sync.py --check    exit 1 when the committed code differs

The async client is the source. Words are rewritten (async def, await, async with, the names of the
iteration and context protocols, the package), and the result is formatted by ruff. Four modules
are written by hand on either side, since there the two differ in kind: `runtime` (the event loop,
or threads), `links` (a task or a thread a unit), and `connection` and `lane` (a stream with one
future a call, or leader and followers over unary calls; `_sync/lane.py` is both). `connect` exists
only on the async side, where it must be awaited and entered; the sync door is `tupelo/sync.py`.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "client" / "tupelo" / "_async"
TARGET = ROOT / "client" / "tupelo" / "_sync"

GENERATED = (
    "client.py",
    "dispatch.py",
    "near.py",
    "persist.py",
    "reads.py",
    "routes.py",
    "scan.py",
    "scatter.py",
    "space.py",
)

REWRITES: tuple[tuple[str, str], ...] = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait\s+", ""),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\b__aiter__\b", "__iter__"),
    (r"\b__anext__\b", "__next__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\btupelo\._async\b", "tupelo._sync"),
)

HEADER = "# Made from tupelo/_async/{name} by scripts/make_sync.py: change it there.\n"


def rewrite(source: str) -> str:
    for pattern, replacement in REWRITES:
        source = re.sub(pattern, replacement, source)
    return source


def formatted(source: str, name: str) -> str:
    """By ruff, with the project's settings: imports sorted, then laid out."""
    for command in (["check", "--select", "I", "--fix", "--exit-zero", "-q"], ["format", "-q"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET / name), "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        source = done.stdout
    return source


def generate(name: str) -> str:
    source = (SOURCE / name).read_text(encoding="utf-8")
    return formatted(HEADER.format(name=name) + rewrite(source), name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the sync client from the async one.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = 0
    for name in GENERATED:
        wanted = generate(name)
        target = TARGET / name
        found = target.read_text(encoding="utf-8") if target.exists() else ""
        if wanted == found:
            continue
        stale += 1
        if check:
            place = str(target.relative_to(ROOT))
            diff = difflib.unified_diff(
                found.splitlines(True), wanted.splitlines(True), place, f"{place} (generated)"
            )
            sys.stdout.writelines(diff)
        else:
            target.write_text(wanted, encoding="utf-8")
            print(f"wrote {target.relative_to(ROOT)}")
    if check and stale:
        print(f"{stale} files differ from what scripts/make_sync.py makes: run `make sync`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
