"""What is left of a frame once it is answered."""

from __future__ import annotations

import gc

from tupelo.v1.data_pb2 import OpBatch, SessionRequest
from tupelo_grid.core.batch import Batch, Pending
from tupelo_grid.runtime.shell import Call

from tests.fuzz.unit import OneUnit


async def test_an_answered_frame_goes_without_the_collector() -> None:
    """With large frames, what waits for the collector would be most of a unit's memory."""
    unit = OneUnit()
    gc.collect()
    gc.disable()
    try:
        call = Call(SessionRequest(request_id=7, batches=[OpBatch()]))
        pending = Pending(Batch(0, 0, b"", [], [], None, [], None, None))
        pending.token = call
        call.answers.append((pending, None))
        assert unit.shell._respond(call).request_id == 7
        del call, pending
        assert not any(type(one) in (Call, Pending) for one in gc.get_objects())
    finally:
        gc.enable()
        unit.close()
