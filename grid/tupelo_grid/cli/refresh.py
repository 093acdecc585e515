"""`tupelo refresh`: entries follow what somebody else changed in the store."""

from __future__ import annotations

import argparse
import json

from tupelo.codec import encode_key
from tupelo.errors import InvalidArgument
from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.cli.output import CliError, ExitCode, say, say_json
from tupelo_grid.cli.rpc import admin_stub, call
from tupelo_grid.cli.settings import load_config
from tupelo_grid.cli.values import as_json

COUNTS = ("changed", "added", "removed", "same", "newer", "dead", "refused")


def refresh(options: argparse.Namespace) -> int:
    config = load_config({"port": options.port, "host": options.host}, options.config)
    request = pb.RefreshRequest(space=options.space, key=_key(options.key))
    what = f"messaging ({config.messaging_address})"
    with admin_stub(config.messaging_address) as stub:
        answer = call(stub.Refresh, request, options.timeout or config.refresh_s_max, what)
    if options.json:
        say_json({name: getattr(answer, name) for name in COUNTS})
        return ExitCode.OK
    say(
        f"{answer.changed} changed, {answer.added} added, {answer.removed} removed, "
        f"{answer.same} as they were"
    )
    if answer.newer:
        say(f"{answer.newer} kept: the store does not have the grid's newer change yet")
    if answer.dead:
        say(f"{answer.dead} kept: the grid's change is a dead letter (tupelo dead-letters)")
    if answer.refused:
        say(
            f"{answer.refused} rows left out: larger than key_bytes_max or value_bytes_max",
            "yellow",
        )
    return ExitCode.OK


def _key(text: str | None) -> bytes:
    if text is None:
        return b""
    try:
        key = json.loads(as_json(text))
        return encode_key(tuple(key) if isinstance(key, list) else key)
    except InvalidArgument as error:
        raise CliError(ExitCode.USAGE, str(error)) from error
