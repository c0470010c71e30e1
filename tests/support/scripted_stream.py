"""One stream of lookups against a client and lookups that a test scripts."""

import asyncio

import numpy as np

from engram_store.codec import Request, decode_given_up, decode_stream_replies, encode_stream_failure
from store_server.limits.limits import Limits
from store_server.limits.load import Load
from store_server.services.reply_stream import ReplyStream

LARGE, SMALL = 8192, 16
MIB = 1 << 20


class ScriptedContext:
    """Gives messages, the number of rows as text; replies are taken once `reading` is set.

    A message may be longer than that text, or ask for several lookups ("16+16"): bytes are given as they are.
    """

    def __init__(self, *sizes):
        self.sizes = list(sizes)
        self.num_read = 0
        self.all_read = asyncio.Event()
        self.reading = asyncio.Event()
        self.replies = []
        self.metadata = []

    async def send_initial_metadata(self, metadata):
        self.metadata.append(metadata)

    async def read(self):
        await asyncio.sleep(0)
        if self.sizes:
            self.num_read += 1
            message = self.sizes.pop(0)
            return message if isinstance(message, bytes) else str(message).encode()
        self.all_read.set()
        await self.reading.wait()
        return None

    async def write(self, reply):
        await self.reading.wait()
        self.replies.append(reply)


class ContextWithMetadata:
    async def send_initial_metadata(self, _metadata):
        pass


def decode(message):
    return [Request(1, "t", "v", np.zeros(int(size), np.int64)) for size in message.split(b"+")]


def row_bytes(request):
    return request.rows.size * 128  # a large lookup's reply is a MiB


class ScriptedLookups:
    def __init__(self, answer_at_once, answer, decode, reply_bytes):
        self.answer_at_once, self.answer = answer_at_once, answer
        self.requests_in, self.reply_bytes = decode, reply_bytes
        self.told = []

    def refusal(self, request, failed):
        return encode_stream_failure(request.id, failed.failure)

    def answered(self, source, seconds, lookups):
        assert 0 < seconds < 60
        self.told.append((source, lookups))

    def given_up_in(self, message):
        return decode_given_up(message) if len(message) % 8 == 2 and len(message) > 8 else None  # else text


def load_of(**limits):
    return Load(Limits(max_in_flight_bytes=64 << 20, **limits), disk_turns=8)


def stream(context, answer_at_once, answer, decode=decode, reply_bytes=row_bytes, load=None):
    lookups = ScriptedLookups(answer_at_once, answer, decode, reply_bytes)
    return ReplyStream(context, lookups, (load or load_of()).of("client"), context.write)


def reply_to(requests):
    return b"+".join(str(request.rows.size).encode() for request in requests)


async def not_at_all(request):
    raise AssertionError("answered at once")


def reasons(replies):
    """The reasons of those of the replies that are failures."""
    failures = [decode_stream_replies(each)[0].failure for each in replies if each.startswith(b"\x09")]
    return [failure.reason for failure in failures]


def is_nothing(load):
    """Whether nothing is counted any more."""
    return load.waiting.taken == load.request_bytes.taken == load.reply_bytes.taken == 0


async def settled():
    """Let all tasks go as far as they can."""
    for _ in range(1000):
        await asyncio.sleep(0)
