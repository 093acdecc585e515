"""Forced promotion: what is left of a LOST partition, what each way on would cost, and the doing.

The answer to a first question names a revision; with it the second one carries out exactly what
was shown, or fails when anything about the partition has changed since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from tupelo.v1 import admin_pb2 as pb
from tupelo.v1 import pump_pb2, pump_pb2_grpc

from tupelo_grid.config import GridConfig
from tupelo_grid.coordinator.holdings import ask_holdings, lengths_of
from tupelo_grid.coordinator.port import StateStore, StoreError
from tupelo_grid.core.failover import ForcedPromotion, force, force_from_store
from tupelo_grid.core.table import PartitionState
from tupelo_grid.core.view import Members, View
from tupelo_grid.runtime.servers import open_channel

# The state store as read now, and who lives by the controller's observations.
Look = Callable[[], Awaitable[tuple[View, Members]]]
# (partition) -> up to which change the data store has it. Raises PromotionRefused.
AskCursor = Callable[[View, int], Awaitable[int]]


class PromotionRefused(Exception):
    """Not needed, not possible, or overtaken; the text says which, and what to do."""


class Promoter:
    """Carries out `Promote`.

    Args:
        look: of the controller, whose observations alone tell who lives.
        ask_cursor: of the data store; None: the data reader at the messaging address.
    """

    def __init__(
        self,
        config: GridConfig,
        store: StateStore,
        look: Look,
        ask_cursor: AskCursor | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._look = look
        self._ask_cursor = ask_cursor or self._cursor

    async def __call__(self, request: pb.PromoteRequest) -> pb.PromoteResponse:
        """Raises PromotionRefused."""
        number = request.partition
        try:
            view, members = await self._look()
        except StoreError as error:
            raise PromotionRefused(f"the state store does not answer: {error}") from error
        versioned = view.parts.get(number)
        if versioned is None:
            raise PromotionRefused(f"there is no partition {number}")
        if versioned.config.state is not PartitionState.LOST:
            raise PromotionRefused(f"partition {number} is not LOST: there is nothing to force")
        if request.revision and request.revision != versioned.revision:
            raise PromotionRefused(
                f"partition {number} has changed since; look at it again before you decide"
            )
        addresses = {name: held.lease.address for name, held in members.live.items()}
        answers = await ask_holdings(
            self._config, addresses, [number], self._config.status_timeout_s
        )
        cursor = await self._ask_cursor(view, number)
        response = pb.PromoteResponse(
            revision=versioned.revision,
            store_cursor=cursor,
            candidates=[
                pb.PromoteCandidate(
                    incarnation=name, last_sequence=one.last_sequence, commit=one.commit
                )
                for name, answer in sorted(answers.items())
                for one in answer.holdings
            ],
        )
        forced = self._choose(view, members, request, answers, cursor)
        response.candidate, response.may_lose = forced.candidate, forced.may_lose
        if request.revision:
            await self._carry_out(forced)
            response.done = True
        return response

    def _choose(
        self,
        view: View,
        members: Members,
        request: pb.PromoteRequest,
        answers: dict[str, pb.HoldingsResponse],
        cursor: int,
    ) -> ForcedPromotion:
        number = request.partition
        holding = [name for name, answer in answers.items() if answer.holdings]
        wanted = members.incarnations.get(request.to, request.to)
        if wanted and wanted not in answers:
            raise PromotionRefused(f"{request.to} is no unit that lives and answers")
        try:
            if request.from_store:
                # Whoever holds something already is fenced unless it is chosen.
                order = sorted(answers, key=lambda name: (name not in holding, name))
                chosen = [wanted] if wanted else order
                return force_from_store(view, members, number, chosen, cursor)
            chosen = [wanted] if wanted else holding
            if not set(chosen) & set(holding):
                who = f"{wanted} has nothing" if wanted else "no living unit has anything"
                raise PromotionRefused(
                    f"{who} of partition {number}; what the store has of it ends at change "
                    f"{cursor}: --from-store begins it anew there"
                )
            return force(view, members, number, chosen, lengths_of(answers), cursor)
        except ValueError as error:
            raise PromotionRefused(str(error)) from error

    async def _carry_out(self, forced: ForcedPromotion) -> None:
        txn = forced.txn
        try:
            result = await self._store.txn(txn.conditions, txn.puts, txn.deletes)
        except StoreError as error:
            raise PromotionRefused(
                f"the state store does not say whether it took it, look again: {error}"
            ) from error
        if not result.succeeded:
            raise PromotionRefused(
                "a unit came back or the partition changed in this moment; look at it again"
            )

    async def _cursor(self, view: View, number: int) -> int:
        assert view.grid is not None
        address = self._config.messaging_address
        request = pump_pb2.LoadRequest(
            grid_id=bytes.fromhex(view.grid.grid_id), partitions=[number]
        )
        async with open_channel(self._config, address) as channel:
            stub: Any = pump_pb2_grpc.DataReaderStub(channel)  # type: ignore[no-untyped-call]
            call = stub.Load(request, timeout=self._config.rpc_timeout_s)
            try:
                # The cursors come first; of the entries after them nothing is wanted here.
                chunk = await call.read()
            except grpc.aio.AioRpcError as error:
                raise PromotionRefused(
                    f"what the store has is not known: messaging ({address}): {error.details()}"
                ) from error
            finally:
                call.cancel()
        if not isinstance(chunk, pump_pb2.LoadChunk):
            raise PromotionRefused(f"messaging ({address}) ended without an answer")
        return dict(zip(chunk.fence_partitions, chunk.fence_cursors, strict=True)).get(number, 0)
