"""What a node says to a call on a stream, also where gRPC keeps it back."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

_MOST_TIMES = 20


async def told(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `ask` returns, or raise the node's refusal.

    A node that refuses before it has read a message ends the stream while gRPC writes to it. gRPC tells then that its
    own batch failed and not what the node said, so it is asked again.
    """
    for _ in range(_MOST_TIMES - 1):
        try:
            return await ask()
        except grpc.aio.AioRpcError as error:
            if "execute_batch" not in error.debug_error_string():
                raise
    return await ask()
