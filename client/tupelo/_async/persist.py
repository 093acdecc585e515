"""Waiting until the store has what was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from tupelo._async import runtime
from tupelo._async.dispatch import Dispatcher
from tupelo.batch import timeout_ms
from tupelo.errors import ConnectionLost
from tupelo.persisting import PENDING, WRONG_OWNER, late, not_persisted
from tupelo.results import Token
from tupelo.transport import describe, space_stub
from tupelo.v1.data_pb2 import WaitPersistedRequest, WaitPersistedResponse, WriteToken

# What a unit has to answer beyond the time it was given to wait.
ANSWER_S = 2.0
AGAIN_S = 0.05


async def wait_stored(
    dispatcher: Dispatcher,
    tokens: Sequence[Token],
    deadline: float,
    declared_only: bool = False,
) -> None:
    """Returns when the store has all of them. Raises NotPersisted at the deadline, or when the
    store has refused one.

    Args:
        declared_only: passes over writes that touched no space declared write-through.
    """
    todo, problem, first = list(tokens), "", True
    last: WaitPersistedResponse | None = None
    while todo:
        owners: dict[str, list[Token]] = {}
        for token in todo:
            owners.setdefault(dispatcher.owner_of(token.partition), []).append(token)
        todo, lost = [], False
        for asked, (address, mine) in enumerate(owners.items(), 1):
            left_s = max(0.0, deadline - runtime.monotonic())
            if first and asked < len(owners):
                # Whoever is asked hurries: all are, before one is waited for.
                left_s = 0.0
            answer = await _ask(dispatcher, address, mine, left_s, declared_only)
            if isinstance(answer, str):
                problem, lost = answer, True
                todo += mine
                continue
            expired = runtime.monotonic() >= deadline
            again = (WRONG_OWNER,) if expired else (WRONG_OWNER, PENDING)
            states = answer.states
            if len(states) != len(mine):
                states = bytes([WRONG_OWNER]) * len(mine)
            refusal = not_persisted(answer, [state for state in states if state not in again])
            if refusal is not None and not all(state in again for state in states):
                raise refusal
            todo += [one for one, state in zip(mine, states, strict=True) if state in again]
            lost = lost or WRONG_OWNER in states
            last = answer
        first = False
        if todo:
            left_s = deadline - runtime.monotonic()
            if left_s <= 0:
                raise late(last, problem or "the partition is changing its owner")
            if lost:
                await runtime.sleep(min(AGAIN_S, left_s))
                await dispatcher.routes.refresh(deadline)


async def _ask(
    dispatcher: Dispatcher, address: str, tokens: list[Token], left_s: float, declared_only: bool
) -> WaitPersistedResponse | str:
    """The answer, or why there is none."""
    if not address:
        return "the partition has no primary right now"
    stub: Any = space_stub(dispatcher.routes.channel(address))
    request = WaitPersistedRequest(
        grid_id=dispatcher.routes.table.grid_id,
        tokens=[
            WriteToken(partition=one.partition, epoch=one.epoch, sequence=one.sequence)
            for one in tokens
        ],
        timeout_ms=timeout_ms(left_s),
        declared_only=declared_only,
    )
    try:
        response: WaitPersistedResponse = await runtime.answered(
            stub.WaitPersisted(request, timeout=left_s + ANSWER_S)
        )
    except (grpc.RpcError, ConnectionLost) as error:
        return f"{address}: {describe(error)}"
    return response
