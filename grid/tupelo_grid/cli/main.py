"""`tupelo`: start a grid, look at it, change it, and use it from a shell."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import sys
from functools import partial
from typing import Any

from tupelo_grid.cli import values
from tupelo_grid.cli.output import EXIT_CODES, CliError, ExitCode, error_dict, say_error, say_json

EPILOG = f"""examples:
  tupelo up --units 3 --unit processing-units/airline --detach
  tupelo status
  tupelo put carts ann '{{"items": ["tea"]}}'
  tupelo get carts ann
  tupelo scale 4
  tupelo down

Settings come from options, TUPELO_* environment variables (TUPELO_UNITS=4) and a TOML file
(--config), in this order. Keys and values are JSON; text that is no JSON is taken as a string.

{EXIT_CODES}"""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    try:
        options = parser().parse_args(arguments)
    except CliError as error:
        return _failed(error, "--json" in (sys.argv[1:] if arguments is None else arguments))
    # As the processes of the grid set it; read when grpc is imported, which commands do.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        command = importlib.import_module(f"tupelo_grid.cli.{options.module}")
        return int(getattr(command, options.function)(options))
    except CliError as error:
        return _failed(error, getattr(options, "json", False))
    except BrokenPipeError:
        # The reader, such as `head`, has enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
    except KeyboardInterrupt:
        return 130


def _failed(error: CliError, as_json: bool) -> int:
    say_error(error)
    if as_json and not error.told:
        say_json(error_dict(error))
    return int(error.code)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="tupelo",
        description="An in-memory data grid whose processing units are Python.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("tupelo")
    top.add_argument("--version", action="version", version=f"tupelo {version}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_operations(commands)
    _add_repairs(commands)
    _add_data(commands)
    return top


def _add(commands: Any, name: str, where: str, text: str, **more: Any) -> argparse.ArgumentParser:
    """A command carried out by `where`, "module.function" of this package."""
    module, _, function = where.partition(".")
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=more.get("epilog", EXIT_CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(module=module, function=function)
    return command


def _add_grid_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port", type=int, metavar="N", help="of the grid (default: 7400)")
    command.add_argument("--host", help="address of the grid (default: 127.0.0.1)")
    command.add_argument("--config", metavar="FILE.toml", help="settings file")
    command.add_argument(
        "--timeout", type=values.seconds, default=10.0, metavar="S", help="seconds (default: 10)"
    )


def _add_up(commands: Any) -> None:
    up = _add(commands, "up", "up.up", "start a grid on this machine; Ctrl-C drains and stops it")
    up.add_argument("--units", type=int, metavar="N", help="processing units (default: 3)")
    up.add_argument("--port", type=int, metavar="N", help="and N + 1 for control (default: 7400)")
    up.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    up.add_argument("--data-dir", metavar="DIR", help="state, store, logs (default: .tupelo)")
    up.add_argument(
        "--unit",
        action="append",
        metavar="UNIT",
        help="folder of a processing unit, or name of an installed one, that every unit loads; "
        "repeatable",
    )
    up.add_argument(
        "--space",
        action="append",
        metavar="NAME",
        dest="spaces",
        help="untyped space to create; repeatable",
    )
    up.add_argument("--backups", type=int, metavar="N", help="copies beside the primary (1)")
    up.add_argument("--partitions", type=int, metavar="N", help="of a new grid (default: 256)")
    up.add_argument(
        "--writers", type=int, metavar="N", help="data writers of their own, with NATS (default: 0)"
    )
    up.add_argument(
        "--routers",
        type=int,
        metavar="N",
        help="routers beside that of --port, on port + 2 and so on (default: 0)",
    )
    up.add_argument("--store-url", metavar="URL", help="SQLAlchemy URL (default: SQLite file)")
    up.add_argument("--config", metavar="FILE.toml", help="settings file")
    up.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting, by its name in the settings file; repeatable",
    )
    up.add_argument("--detach", action="store_true", help="return when the grid is ready")


def _add_operations(commands: Any) -> None:
    _add_up(commands)
    status = _add(commands, "status", "status.status", "how the grid is, unit by unit")
    _add_grid_options(status)
    status.add_argument("--json", action="store_true", help="one JSON object as the last line")
    status.add_argument(
        "--lags", action="store_true", help="also what the store lacks of each partition"
    )
    status.add_argument(
        "--watch",
        type=partial(values.seconds, option="--watch"),
        nargs="?",
        const=1.0,
        metavar="S",
        help="again every S seconds (default: 1) until Ctrl-C",
    )

    scale = _add(commands, "scale", "operate.scale", "change the number of processing units")
    scale.add_argument("units", type=int, metavar="N")
    _add_grid_options(scale)

    down = _add(commands, "down", "operate.down", "drain to the store and stop everything")
    _add_grid_options(down)
    down.add_argument(
        "--data-dir", metavar="DIR", help="also stops what a killed control process left there"
    )

    drain = _add(
        commands, "drain", "drain.drain", "wait until the store has everything acknowledged so far"
    )
    _add_grid_options(drain)
    drain.set_defaults(timeout=None)
    drain.add_argument("--json", action="store_true", help="one JSON object as the last line")

    demo = _add(commands, "demo", "demo.demo", "a real day of flights, sold out under load")
    demo.add_argument("--keep", action="store_true", help="leave the grid running")
    demo.add_argument(
        "--seconds",
        type=partial(values.seconds, option="--seconds"),
        default=10.0,
        help="of load (default: 10)",
    )
    demo.add_argument("--users", type=int, default=8, help="of the load (default: 8)")

    space = _add(commands, "space", "operate.create_space", "create a space")
    space.add_argument("action", choices=["create"])
    space.add_argument("name", metavar="NAME")
    space.add_argument("--schema", metavar="FILE.json", help="of typed entries (SpaceSchema)")
    _add_grid_options(space)


def _add_repairs(commands: Any) -> None:
    restart = _add(
        commands, "restart", "repair.restart", "restart all units, one after another, under load"
    )
    restart.add_argument(
        "--rolling", action="store_true", required=True, help="one unit at a time; the only way"
    )
    restart.add_argument(
        "--force", action="store_true", help="also where partitions are not healthy"
    )
    _add_grid_options(restart)

    promote = _add(
        commands, "promote", "repair.promote", "make a LOST partition serve again, at a price"
    )
    promote.add_argument(
        "partition", nargs="?", metavar="PARTITIONS", help="such as 17, 1-255 or 3,7,20-31"
    )
    promote.add_argument("--all-lost", action="store_true", help="all that are LOST now")
    promote.add_argument(
        "--to", default="", metavar="UNIT", help="default: the one with the longest journal"
    )
    promote.add_argument(
        "--from-store", action="store_true", help="begin anew with what the store has"
    )
    promote.add_argument("--yes", action="store_true", help="do not ask")
    _add_grid_options(promote)

    _add_dead_letters(commands)
    _add_store(commands)

    refresh = _add(
        commands, "refresh", "refresh.refresh", "take entries from the store that others changed"
    )
    refresh.add_argument("space", metavar="SPACE")
    refresh.add_argument(
        "key", nargs="?", metavar="KEY", help="only this one; JSON, or text (default: all)"
    )
    refresh.add_argument("--json", action="store_true", help="one JSON object as the last line")
    _add_grid_options(refresh)
    refresh.set_defaults(timeout=None)

    rebuild = _add(
        commands, "rebuild-state", "rebuild.rebuild", "make a lost state file from running units"
    )
    rebuild.add_argument("--data-dir", metavar="DIR", help="of the grid (default: .tupelo)")
    rebuild.add_argument(
        "--unit-address",
        action="append",
        default=[],
        metavar="HOST:PORT",
        dest="unit_addresses",
        help="of a unit that runs elsewhere; repeatable",
    )
    _add_grid_options(rebuild)


def _add_dead_letters(commands: Any) -> None:
    letters = _add(
        commands, "dead-letters", "letters.dead_letters", "changes that the store could not hold"
    )
    letters.add_argument(
        "action", choices=["list", "retry", "drop"], help="retry: store what the store takes by now"
    )
    letters.add_argument("--space", metavar="NAME", help="only of this space")
    letters.add_argument("--key", metavar="KEY", help="only of this key; JSON, or text")
    letters.add_argument("--version", type=values.version, metavar="N", help="only this version")
    letters.add_argument(
        "--limit",
        type=values.limit,
        default=100,
        metavar="N",
        help="at most so many, 0: all (default: 100)",
    )
    letters.add_argument(
        "--all", action="store_true", help="list, drop: also those that newer changes made needless"
    )
    letters.add_argument("--yes", action="store_true", help="drop: do not ask")
    letters.add_argument("--json", action="store_true", help="one JSON object as the last line")
    _add_grid_options(letters)


def _add_store(commands: Any) -> None:
    store = _add(commands, "store", "store.init", "make or migrate the tables of the store")
    store.add_argument("action", choices=["init"])
    store.add_argument("--store-url", metavar="URL", help="without password (default: SQLite file)")
    store.add_argument("--data-dir", metavar="DIR", help="of the SQLite file (default: .tupelo)")
    store.add_argument(
        "--unit",
        action="append",
        metavar="UNIT",
        help="folder or name of a processing unit whose spaces get tables; repeatable",
    )
    store.add_argument(
        "--space",
        action="append",
        metavar="NAME",
        dest="spaces",
        help="untyped space; repeatable",
    )
    store.add_argument(
        "--schema",
        action="append",
        default=[],
        metavar="FILE.json",
        dest="schemas",
        help="of a space (SpaceSchema); repeatable",
    )
    store.add_argument("--config", metavar="FILE.toml", help="settings file")
    store.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="repeatable"
    )
    store.add_argument("--json", action="store_true", help="one JSON object as the last line")


def _add_data(commands: Any) -> None:
    get = _add(commands, "get", "data.get", "print the value of a key as JSON")
    put = _add(commands, "put", "data.put", "write an entry")
    delete = _add(commands, "delete", "data.delete", "remove an entry")
    scan = _add(commands, "scan", "data.scan", "print entries as JSON lines")
    count = _add(commands, "count", "data.count", "count the entries of a space")
    for command in (get, put, delete, scan, count):
        command.add_argument("space", metavar="SPACE")
    for command in (get, put, delete):
        command.add_argument("key", metavar="KEY", help="JSON, or text that is none: a string")
    put.add_argument("value", metavar="VALUE", help="JSON, or text that is none: a string")
    put.add_argument(
        "--ttl", type=values.ttl, default=0.0, metavar="S", help="time to live, seconds"
    )
    put.add_argument("--if-absent", action="store_true", help="only where there is no entry")
    put.add_argument(
        "--if-version", type=values.version, metavar="N", help="only over this version"
    )
    delete.add_argument("--if-version", type=values.version, metavar="N", help="only this version")
    scan.add_argument(
        "--limit", type=values.limit, default=100, metavar="N", help="0: all (default: 100)"
    )

    call = _add(commands, "call", "data.call", "run a command of a processing unit")
    call.add_argument("command", metavar="COMMAND", help="UNIT.COMMAND, e.g. airline.seat_map")
    call.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="values as JSON")
    spaces = _add(commands, "spaces", "data.spaces", "list the spaces of the grid")
    for command in (get, put, delete, scan, count, call, spaces):
        _add_grid_options(command)
        command.add_argument("--json", action="store_true", help="one JSON object as last line")


if __name__ == "__main__":
    sys.exit(main())
