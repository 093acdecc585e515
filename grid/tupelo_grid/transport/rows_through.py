"""Row writes that are answered only when the store has them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from tupelo.batch import timeout_ms
from tupelo.errors import NotPersisted, ResultCode, WrongOwner
from tupelo.persisting import not_persisted
from tupelo.schema import SpaceSchema
from tupelo.v1 import data_pb2 as pb

WaitPersisted = Callable[[pb.WaitPersistedRequest], Awaitable[pb.WaitPersistedResponse]]


async def until_stored(
    wait: WaitPersisted, token: pb.WriteToken, deadline: float, declared_only: bool
) -> None:
    """Raises NotPersisted when the store does not have it by then, or will not."""
    request = pb.WaitPersistedRequest(
        tokens=[token],
        timeout_ms=timeout_ms(max(0.0, deadline - time.monotonic())),
        declared_only=declared_only,
    )
    try:
        response = await wait(request)
    except WrongOwner as error:
        # The write was acknowledged here; whether the store has it is another unit's to say now.
        raise NotPersisted(f"the write is in the grid; {error}") from error
    refusal = not_persisted(response)
    if refusal is not None:
        raise refusal


def is_declared(spaces: Mapping[str, SpaceSchema], space: str) -> bool:
    """Whether the space is write-through; "": whether any is."""
    if space:
        return space in spaces and spaces[space].write_through
    return any(schema.write_through for schema in spaces.values())


def was_written(code: int, token: pb.WriteToken) -> bool:
    return code == ResultCode.OK and token.sequence > 0 and token.epoch > 0
