"""`tupelo dead-letters`: changes that the store could not hold."""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from tupelo.codec import encode_key
from tupelo.errors import InvalidArgument
from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.cli.output import CliError, ExitCode, say, say_json, say_warning, show_table
from tupelo_grid.cli.rpc import admin_stub, call
from tupelo_grid.cli.settings import load_config
from tupelo_grid.cli.values import as_json
from tupelo_grid.config import GridConfig

PAGE = 500
TEXT_SHOWN = 60


def dead_letters(options: argparse.Namespace) -> int:
    config = load_config({"port": options.port, "host": options.host}, options.config)
    actions = {"list": _list, "retry": _retry, "drop": _drop}
    with admin_stub(config.messaging_address) as stub:
        return actions[options.action](options, config, stub)


def _list(options: argparse.Namespace, config: GridConfig, stub: Any) -> int:
    found: list[pb.DeadLetter] = []
    waiting = 0
    for page in _pages(options, config, stub.ListDeadLetters):
        found += page.letters
        waiting = page.count
    if options.json:
        letters = [_dict(letter) for letter in found]
        say_json({"waiting": waiting, "shown": len(found), "letters": letters})
        return ExitCode.OK
    columns = ("space", "key", "version", "put aside", "error")
    rows = [
        (one.space, _short(_key(one.key)), one.version, _time(one.time_ms), _short(_why(one)))
        for one in found
    ]
    if rows:
        show_table(columns, rows, right=len(columns))
    say(f"{len(found)} shown, {waiting} wait in the store")
    return ExitCode.OK


def _retry(options: argparse.Namespace, config: GridConfig, stub: Any) -> int:
    counts = {"stored": 0, "superseded": 0, "refused": 0}
    refused: list[pb.DeadLetter] = []
    for page in _pages(options, config, stub.RetryDeadLetters):
        for letter in page.letters:
            counts[letter.result] = counts.get(letter.result, 0) + 1
            if letter.result == "refused":
                refused.append(letter)
    if options.json:
        say_json({**counts, "letters": [_dict(letter) for letter in refused]})
    else:
        for letter in refused[:PAGE]:
            say_warning(f"{letter.space} {_short(_key(letter.key))}: {letter.error}")
        say(
            f"{counts['stored']} stored, {counts['superseded']} not needed any more, "
            f"{counts['refused']} refused again and kept"
        )
    return ExitCode.FAILED if refused else ExitCode.OK


def _drop(options: argparse.Namespace, config: GridConfig, stub: Any) -> int:
    """What is dropped is still in the grid, and missing in the store until it is written again."""
    if not options.yes and not _agreed(options):
        raise CliError(ExitCode.FAILED, "nothing was dropped", "--yes agrees beforehand")
    dropped = 0
    left = options.limit or sys.maxsize
    while left > 0:
        request = _request(options, min(left, PAGE))
        answer = _call(stub.DropDeadLetters, request, options, config)
        dropped += answer.count
        left -= answer.count
        if answer.count < request.limit:
            break
    if options.json:
        say_json({"dropped": dropped})
    else:
        say(f"{dropped} dropped")
    return ExitCode.OK


def _agreed(options: argparse.Namespace) -> bool:
    if not sys.stdin.isatty():
        return False
    what = f"of space {options.space}" if options.space else "of all spaces"
    sys.stdout.write(f"Forget dead letters {what}? The store keeps what it has. [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _pages(
    options: argparse.Namespace, config: GridConfig, method: Any
) -> Iterator[pb.DeadLettersResponse]:
    left = options.limit or sys.maxsize
    token = ""
    while left > 0:
        request = _request(options, min(left, PAGE))
        request.page_token = token
        answer = _call(method, request, options, config)
        yield answer
        left -= len(answer.letters)
        token = answer.next_page_token
        if not token:
            return


def _call(
    method: Any, request: pb.DeadLettersRequest, options: argparse.Namespace, config: GridConfig
) -> pb.DeadLettersResponse:
    what = f"messaging ({config.messaging_address})"
    answer: pb.DeadLettersResponse = call(method, request, options.timeout, what)
    return answer


def _request(options: argparse.Namespace, limit: int) -> pb.DeadLettersRequest:
    key = b""
    if options.key is not None:
        try:
            key = encode_key(json.loads(as_json(options.key)))
        except InvalidArgument as error:
            raise CliError(ExitCode.USAGE, str(error)) from error
    return pb.DeadLettersRequest(
        space=options.space or "",
        key=key,
        version=options.version or 0,
        limit=limit,
        superseded=options.all,
    )


def _dict(letter: pb.DeadLetter) -> dict[str, Any]:
    payload = None if letter.removal else _plain(letter.payload)
    return {
        "space": letter.space,
        "key": _plain(letter.key),
        "version": letter.version,
        "error": letter.error,
        "payload": payload,
        "removal": letter.removal,
        "time": _time(letter.time_ms),
        "partition": letter.partition,
        "superseded_by": letter.superseded or None,
    }


def _plain(data: bytes) -> Any:
    """For JSON; what has no form there is shown as text, and what is no MessagePack in base64."""
    try:
        return msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(data)))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return {"base64": base64.b64encode(data).decode()}


def _key(data: bytes) -> str:
    return msgspec.json.encode(_plain(data)).decode()


def _why(letter: pb.DeadLetter) -> str:
    gone = f" (superseded by {letter.superseded})" if letter.superseded else ""
    return letter.error.replace("\n", " ") + gone


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 3] + "..."


def _time(time_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return moment.isoformat(timespec="seconds")
