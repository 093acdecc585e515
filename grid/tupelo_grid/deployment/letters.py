"""Dead letters for an operator: listed, tried again, dropped, where the store is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from tupelo.schema import SpaceSchema
from tupelo.v1 import admin_pb2 as pb

from tupelo_grid.store.port import DeadLetter, LetterFilter, Store
from tupelo_grid.store.port import StoreError as DataStoreError

__all__ = ["DataStoreError", "DeadLetters"]

PAGE_LETTERS_MAX: Final = 1000
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of payloads in one page; a page has one letter at least."""

_place: Final = msgspec.json.Decoder(tuple[int, str, bytes, int])


class DeadLetters:
    """Each method answers one request, and raises ValueError for one that makes no sense, or the
    store's own errors.

    Args:
        schemas: the declared spaces now.
        counted: is told how many wait in the store, whenever they are counted.
    """

    def __init__(
        self,
        store: Store,
        schemas: Callable[[], Mapping[str, SpaceSchema]],
        counted: Callable[[int], None],
    ) -> None:
        self._store = store
        self._schemas = schemas
        self._counted = counted

    async def list(self, request: pb.DeadLettersRequest) -> pb.DeadLettersResponse:
        limit = _limit(request)
        found = await self._store.dead_letters(limit + 1, 0, _filter(request))
        page: list[DeadLetter] = []
        size = 0
        for letter in found[:limit]:
            size += len(letter.payload or b"") + len(letter.key) + len(letter.error)
            if page and size > PAGE_BYTES_MAX:
                break
            page.append(letter)
        response = pb.DeadLettersResponse(
            letters=[_message(letter) for letter in page],
            count=await self._count(),
        )
        if len(page) < len(found):
            last = page[-1]
            place = (last.time_ms, last.space, last.key, last.version)
            response.next_page_token = msgspec.json.encode(place).decode()
        return response

    async def retry(self, request: pb.DeadLettersRequest) -> pb.DeadLettersResponse:
        """Letters that were refused once more are in the answer, and in the store still; the token
        leads behind those that were tried."""
        limit = _limit(request)
        results = await self._store.retry_letters(_filter(request), limit, self._schemas())
        response = pb.DeadLettersResponse(
            letters=[_message(one.letter, one.result, one.error) for one in results],
            count=await self._count(),
        )
        if len(results) == limit:
            last = results[-1].letter
            place = (last.time_ms, last.space, last.key, last.version)
            response.next_page_token = msgspec.json.encode(place).decode()
        return response

    async def drop(self, request: pb.DeadLettersRequest) -> pb.DeadLettersResponse:
        dropped = await self._store.drop_letters(_filter(request), _limit(request))
        await self._count()
        return pb.DeadLettersResponse(count=dropped)

    async def _count(self) -> int:
        count = await self._store.dead_letter_count()
        self._counted(count)
        return count


def _limit(request: pb.DeadLettersRequest) -> int:
    return min(request.limit or PAGE_LETTERS_MAX, PAGE_LETTERS_MAX)


def _filter(request: pb.DeadLettersRequest) -> LetterFilter:
    after = None
    if request.page_token:
        try:
            after = _place.decode(request.page_token)
        except msgspec.MsgspecError as error:
            raise ValueError(f"page_token is not one of this grid: {error}") from error
    return LetterFilter(
        space=request.space,
        key=request.key or None,
        version=request.version,
        superseded=request.superseded,
        after=after,
    )


def _message(letter: DeadLetter, result: str = "", error: str = "") -> pb.DeadLetter:
    return pb.DeadLetter(
        space=letter.space,
        key=letter.key,
        version=letter.version,
        error=error or letter.error,
        payload=letter.payload or b"",
        removal=letter.payload is None,
        time_ms=letter.time_ms,
        partition=letter.partition,
        superseded=letter.superseded,
        result=result,
    )
