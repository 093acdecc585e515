"""python -m tests.chaos [--faults N] [--seed S] [--json] [--kinds A,B] [--fast] [--keep]
                      [--network auto|namespaces|proxy]
python -m tests.chaos --rolling [--rounds N] [--json]

Starts a real grid, lets clients work on it, and injects N faults, drawn from the seed. The last
line is JSON. The exit code is 0 when every promise was kept; 1 when not, and then the
counter-examples are printed, and logs and history stay where the text says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvloop
from tupelo_grid.config import GridConfig

from tests.chaos.links import Proxy
from tests.chaos.load import Mix
from tests.chaos.namespaces import Namespaces, usable
from tests.chaos.network import Network
from tests.chaos.plan import KINDS, Times, make_plan, make_rolling
from tests.chaos.run import Outcome, Run, Settings

SHOWN_MAX = 10


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="nothing but JSON on stdout")
    parser.add_argument("--kinds", default="", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument(
        "--network",
        choices=("auto", "namespaces", "proxy"),
        default="auto",
        help="cuts by iptables between namespaces (as root), or a proxy of TCP",
    )
    parser.add_argument("--fast", action="store_true", help="leases of 1 s, as tests have them")
    parser.add_argument("--partitions", type=int, default=256)
    parser.add_argument("--rolling", action="store_true", help="restart all units under load")
    parser.add_argument("--rounds", type=int, default=1, help="of --rolling")
    parser.add_argument("--recover", type=float, default=60.0, help="seconds for the grid to mend")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    parser.add_argument("--dir", default=None, help="where the run's folder is made")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> Settings:
    """Raises ValueError for a kind of fault that is not known."""
    times = Times(lease_s=1.0, silent_s=0.5) if options.fast else Times()
    config = GridConfig(
        partitions=options.partitions,
        lease_s=times.lease_s,
        silent_backup_s=times.silent_s,
        # Units die here more often than anybody's application does.
        restarts_per_minute_max=1000,
    )
    if options.rolling:
        plan = make_rolling(options.rounds)
        return Settings(
            plan, options.seed, config, Mix(hurry=0.0), options.recover, no_failures=True
        )
    network = network_of(options.network)
    kinds = tuple(kind for kind in options.kinds.split(",") if kind)
    plan = make_plan(options.seed, options.faults, times, kinds)
    return Settings(plan, options.seed, config, recover_s=options.recover, network=network)


def network_of(wanted: str) -> Callable[[], Network]:
    """Raises ValueError when namespaces are asked for and cannot be had."""
    why = usable() if wanted != "proxy" else "not wanted"
    if why and wanted == "namespaces":
        raise ValueError(f"network namespaces cannot be used: {why}")
    return Proxy if why else Namespaces


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        settings = settings_of(options)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="tupelo-chaos-", dir=options.dir))
    try:
        outcome = uvloop.run(interruptible(Run(settings, folder)))
    except asyncio.CancelledError:
        print(f"terminated; grid and network are gone, logs are in {folder}", file=sys.stderr)
        return 128 + signal.SIGTERM
    show(outcome, folder)
    if not outcome.violations and not options.keep:
        shutil.rmtree(folder)
    facts = {"seed": options.seed, **outcome.as_json()}
    print(json.dumps(facts) if options.json else json.dumps(facts, indent=1))
    return 1 if outcome.violations else 0


async def interruptible(run: Run) -> Outcome:
    """Told to end, it takes the grid and its network away first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run.run()


def show(outcome: Outcome, folder: Path) -> None:
    for violation in outcome.violations[:SHOWN_MAX]:
        print(f"BROKEN: {violation}", file=sys.stderr)
    if len(outcome.violations) > SHOWN_MAX:
        print(f"and {len(outcome.violations) - SHOWN_MAX} more", file=sys.stderr)
    if outcome.violations:
        print(f"history, timeline and logs are in {folder}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
