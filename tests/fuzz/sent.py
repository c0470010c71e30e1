"""Failures on their way to a client: whatever a file has put into their words, they can be sent."""

from __future__ import annotations

from fuzz.target import Wrong

from engram_store.codec import decode_stream_replies, encode_stream_failure
from store_server.failures import of_storage
from store_server.storage import StorageError


def send(error: StorageError) -> None:
    """Raise Wrong unless a client would be told of `error` what it says."""
    failure = of_storage(error).failure
    (told,) = decode_stream_replies(encode_stream_failure(1, failure))
    if told.failure is None or told.failure.message != failure.message:
        raise Wrong(f"a client is told {told}, not {failure}")
