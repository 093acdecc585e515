"""`tupelo get`, `put`, `delete`, `scan`, `count`, `call`, `spaces`: the row RPCs of the router."""

from __future__ import annotations

import argparse
import base64
import datetime
import json
import secrets
import time
from typing import Any

import msgspec
from tupelo.schema import decode_schema
from tupelo.session import SESSION_RANDOM_BITS, session_id
from tupelo.v1 import data_pb2

from tupelo_grid.cli.output import (
    CliError,
    ExitCode,
    counted,
    say,
    say_json,
    say_note,
    show_table,
)
from tupelo_grid.cli.rpc import call_until, space_stub
from tupelo_grid.cli.settings import load_config
from tupelo_grid.cli.values import as_json

SCAN_PAGE = 500


def get(options: argparse.Namespace) -> int:
    request = data_pb2.GetRequest(space=options.space, key_json=as_json(options.key))
    answer = _ask(options, "Get", request)
    if not answer.found:
        raise CliError(ExitCode.NOT_FOUND, f"no entry {options.key} in space {options.space}")
    if options.json:
        value = json.loads(answer.value_json)
        say_json({"key": json.loads(request.key_json), "value": value, "version": answer.version})
    else:
        say(answer.value_json)
    return ExitCode.OK


def put(options: argparse.Namespace) -> int:
    session, number = new_token()
    request = data_pb2.PutRequest(
        space=options.space,
        key_json=as_json(options.key),
        value_json=as_json(options.value, "VALUE"),
        ttl_ms=round(options.ttl * 1000),
        session=session,
        op_number=number,
    )
    if options.if_absent and options.if_version is not None:
        raise CliError(ExitCode.USAGE, "--if-absent and --if-version exclude each other")
    if options.if_version is not None:
        conditional = data_pb2.CompareAndSetRequest(
            put=request, expected_version=options.if_version
        )
        return _written(options, _ask(options, "CompareAndSet", conditional))
    return _written(options, _ask(options, "PutIfAbsent" if options.if_absent else "Put", request))


def delete(options: argparse.Namespace) -> int:
    session, number = new_token()
    request = data_pb2.DeleteRequest(
        space=options.space,
        key_json=as_json(options.key),
        expected_version=options.if_version or 0,
        session=session,
        op_number=number,
    )
    return _written(options, _ask(options, "Delete", request))


def scan(options: argparse.Namespace) -> int:
    token, seen = "", 0
    while True:
        left = options.limit - seen if options.limit else SCAN_PAGE
        request = data_pb2.ScanRequest(
            space=options.space, limit=min(left, SCAN_PAGE), page_token=token
        )
        page = _ask(options, "Scan", request)
        for key, value, version in zip(page.keys, page.values, page.versions, strict=True):
            say_json({"key": plain(key), "value": plain(value), "version": version})
        seen += len(page.keys)
        token = page.next_page_token
        if not token or (options.limit and seen >= options.limit):
            break
    if token:
        say_note(f"there are more than the {seen} shown: --limit N shows more, --limit 0 shows all")
    if options.json:
        say_json({"entries": seen, "more": bool(token)})
    return ExitCode.OK


def count(options: argparse.Namespace) -> int:
    entries = _ask(options, "Count", data_pb2.CountRequest(space=options.space)).count
    if options.json:
        say_json({"space": options.space, "count": entries})
    else:
        say(str(entries))
    return ExitCode.OK


def call(options: argparse.Namespace) -> int:
    arguments = {}
    for text in options.arguments:
        name, separator, value = text.partition("=")
        if name in arguments:
            raise CliError(ExitCode.USAGE, f"{text}: {name} was given before")
        if not separator:
            raise CliError(ExitCode.USAGE, f"{text}: write arguments as NAME=VALUE, e.g. number=7")
        arguments[name] = json.loads(as_json(value, name))
    session, number = new_token()
    request = data_pb2.CallRequest(
        command=options.command,
        arguments_json=json.dumps(arguments),
        session=session,
        op_number=number,
    )
    answer = _ask(options, "Call", request)
    result = answer.result_json or "null"
    if options.json:
        say_json({"result": json.loads(result)})
    else:
        say(result)
    return ExitCode.OK


def spaces(options: argparse.Namespace) -> int:
    answer = _ask(options, "Route", data_pb2.RouteRequest())
    # Commands travel in the same list.
    infos = [info for info in answer.spaces if not info.name.startswith("command:")]
    schemas = [decode_schema(info.schema) for info in infos if info.schema]
    schemas.sort(key=lambda schema: schema.name)
    if options.json:
        say_json({"spaces": msgspec.to_builtins(schemas)})
        return ExitCode.OK
    rows = [
        (
            schema.name,
            ", ".join(schema.key) or "any",
            ", ".join(schema.key[position] for position in schema.route) or "the key",
            ", ".join(f"{field.name}: {field.type}" for field in schema.fields) or "untyped",
        )
        for schema in schemas
    ]
    show_table(("space", "key", "routed by", "fields"), rows, right=4)
    return ExitCode.OK


def new_token() -> tuple[int, int]:
    """Of a session that has one operation: a repeated call has one effect."""
    return session_id(int(time.time() * 1000), secrets.randbits(SESSION_RANDOM_BITS)), 1


def plain(packed: bytes) -> Any:
    """MessagePack to what JSON can hold: bytes as base64, names of fields as text."""
    return _plain(msgspec.msgpack.decode(packed))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _written(options: argparse.Namespace, answer: data_pb2.WriteResponse) -> int:
    if not answer.applied:
        found = f"it has version {answer.version}" if answer.version else "there is no entry"
        raise CliError(ExitCode.NOT_FOUND, f"nothing was written: {found}")
    if options.json:
        say_json(
            {
                "version": answer.version,
                "copies": answer.copies,
                "partition": answer.token.partition,
                "epoch": answer.token.epoch,
                "sequence": answer.token.sequence,
            }
        )
    else:
        say(f"done: version {answer.version}, {counted(answer.copies, 'copy', 'copies')}")
    return ExitCode.OK


def _ask(options: argparse.Namespace, method: str, request: Any) -> Any:
    config = load_config({"port": options.port, "host": options.host}, options.config)
    with space_stub(config.messaging_address) as stub:
        what = f"messaging ({config.messaging_address})"
        return call_until(getattr(stub, method), request, options.timeout, what)
