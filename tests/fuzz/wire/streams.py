"""Lookup streams with hostile messages among sound ones, broken off at any point.

Every lookup that could be read before the first message that cannot is answered once, with its own rows or its own
failure, or as given up where that was asked. Such a message ends the stream with INVALID_ARGUMENT, nothing else does.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import grpc
from fuzz.target import Wrong
from fuzz.wire.expected import Code, answer_to, given_up_in, lookups_in, seed_lookups
from fuzz.wire.node import FuzzedNode
from fuzz.wire_bytes import hostile_message

from engram_store.v1 import lookup_service_pb2 as pb

_METHOD: Final = "/engram_store.v1.LookupService/LookupStream"
_TIME_LIMIT_SECONDS: Final = 10.0
_GIVES_UP: Final = b"\x32"  # how a message begins that does
_GIVEN_UP: Final = Code.CANCELLED, b""


class Streams:
    """Opens one stream after another."""

    def __init__(self, node: FuzzedNode, channel: grpc.aio.Channel) -> None:
        self._node = node
        self._call = channel.stream_stream(_METHOD)
        seeds = seed_lookups(node)
        together = pb.LookupStreamRequest(id=99, table="tree", rows=[1])
        together.more.extend(seeds[:8])
        traced = pb.LookupStreamRequest(id=100, table="tree", rows=[2], traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
        given_up = [pb.LookupStreamRequest(given_up=ids) for ids in ([7], range(40), [99, 8], [1 << 63])]
        self._seeds = [each.SerializeToString() for each in (*seeds, together, traced, *given_up)]

    async def send_many(self, rng: random.Random) -> Counter[str]:
        """Send messages, of which one that cannot be read is the last, and read all replies or none of them."""
        messages = self._messages(rng)
        call = self._call(timeout=_TIME_LIMIT_SECONDS)
        try:
            for message in messages:
                await call.write(message)
            if rng.random() < 0.1:
                return Counter(dropped=len(messages))
            await call.done_writing()
            replies = [pb.LookupStreamResponse.FromString(reply) async for reply in call]
            code = await call.code()
        except grpc.aio.AioRpcError as error:
            raise Wrong(f"a stream ended with {error.code()}: {error.details()}") from error
        finally:
            call.cancel()
        return self._judged(messages, replies, code)

    async def send_and_break(self, rng: random.Random) -> Counter[str]:
        """Send messages and end with one that cannot be read: the replies to those before it come all the same."""
        messages = self._messages(rng)
        call = self._call(timeout=_TIME_LIMIT_SECONDS)
        replies = []
        try:
            for message in (*messages, _unreadable(rng)):
                await call.write(message)
            async for reply in call:
                replies.append(pb.LookupStreamResponse.FromString(reply))  # noqa: PERF401  # kept if the stream breaks
            code = await call.code()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError) as error:
            code = error.code() if isinstance(error, grpc.aio.AioRpcError) else await call.code()
        finally:
            call.cancel()
        if code is not Code.INVALID_ARGUMENT:
            raise Wrong(f"a message that cannot be read ended the stream with {code}")
        return self._judged(messages, replies, Code.OK) + Counter(INVALID_STREAM=1)

    def _messages(self, rng: random.Random) -> list[bytes]:
        made = (hostile_message(rng, self._seeds) for _ in range(rng.randrange(1, 30)))
        return [message for message in made if given_up_in(message) or _asks(message)]

    def _judged(self, messages: list[bytes], replies: list[Any], code: grpc.StatusCode) -> Counter[str]:
        if code is not Code.OK:
            raise Wrong(f"a stream of messages that can be read ended with {code}")
        asked = [each for message in messages if not given_up_in(message) for each in lookups_in(message) or ()]
        expected = Counter((each.id, *answer_to(self._node, each)) for each in asked)
        flat = [each for reply in replies for each in (reply, *reply.more)]
        found = Counter((each.id, _code_of(each), each.rows) for each in flat)
        missing, extra = expected - found, found - expected
        given_up = {id_ for message in messages for id_ in given_up_in(message)}
        if _ids(missing) != _ids(extra) or any(
            each != (each[0], *_GIVEN_UP) or each[0] not in given_up for each in extra
        ):
            raise Wrong(
                f"missing {missing!r:.999}, not asked for {extra!r:.999}: {[message.hex() for message in messages]}"
            )
        return Counter(each[1].name for each in found.elements())


def _asks(message: bytes) -> bool:
    """Tell whether a message can be read, and asks without giving anything up, be it nothing."""
    lookups = lookups_in(message)
    return lookups is not None and not message.startswith(_GIVES_UP) and not any(each.given_up for each in lookups)


def _unreadable(rng: random.Random) -> bytes:
    """Return a message that ends a stream: noise, or one that gives lookups up and is not alone."""
    if rng.random() < 0.5:
        return b"\xff" * rng.randrange(1, 40)
    given_up, asked = pb.LookupStreamRequest(given_up=[7]), pb.LookupStreamRequest(id=7, table="tree", rows=[1])
    return given_up.SerializeToString() + asked.SerializeToString()


def _ids(answers: Counter[tuple[int, Code, bytes]]) -> Counter[int]:
    return Counter(each[0] for each in answers.elements())


def _code_of(reply: Any) -> grpc.StatusCode:
    if not reply.HasField("failure"):
        return Code.OK
    return next(code for code in Code if code.value[0] == reply.failure.code)
