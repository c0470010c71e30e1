"""Ends calls in a way in which gRPC loses nothing of them.

Who cancels a task that waits for gRPC makes it forget what the call had got by then: a kilobyte for a call with one
answer, ten where the answer was there already (https://github.com/grpc/grpc/issues/43360). `cancel` of its calls does
the same, with a task of its own. So only the core of gRPC is told, and the tasks end by themselves, a moment later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import grpc

END_SECONDS: Final = 1.0
"""For a call that was ended to be over; it waits for nobody by then."""


async def answer_to(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> bytes:
    """Return the answer to a call. A cancel ends it, and waits until it is over. Raises AioRpcError."""
    answering = asyncio.ensure_future(call)
    answering.add_done_callback(lambda task: task.cancelled() or task.exception())  # who asked may have gone
    try:
        return await asyncio.shield(answering)
    except asyncio.CancelledError:
        end_call(call)
        await asyncio.wait((answering,), timeout=END_SECONDS)
        raise


def end_call(call: grpc.aio.Call) -> None:
    """Have the core of gRPC end a call, unless it has ended: whoever waits for it gets CancelledError soon."""
    if call.done():
        return
    in_core = getattr(call, "_cython_call", None)
    if in_core is None:  # in a gRPC to come, which may have a way of its own
        call.cancel()
    else:
        in_core.cancel("ended by the store")
