"""Several lookups in one message: as protobuf writes and reads them, and no more of them than there may be."""

import tracemalloc

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engram_store import codec
from engram_store.v1 import lookup_service_pb2 as pb

ids = st.integers(0, 2**64 - 1)
names = st.text(max_size=60)
row_numbers = st.lists(st.integers(0, 2**63 - 1), max_size=30)
requests = st.lists(st.tuples(ids, names, names, row_numbers), min_size=1, max_size=6)
answers = st.lists(st.tuples(ids, names, st.binary(max_size=300)), min_size=1, max_size=6)


def with_more(message, others):
    message.more.extend(others)
    return message.SerializeToString()


def request_of_protobuf(lookups):
    first, *others = (pb.LookupStreamRequest(id=n, table=t, version=v, rows=rows) for n, t, v, rows in lookups)
    return with_more(first, others)


def reply_of_protobuf(replies):
    first, *others = (pb.LookupStreamResponse(id=n, version=v, rows=rows) for n, v, rows in replies)
    return with_more(first, others)


def as_tuples(decoded):
    return [(each.id, each.table, each.version, each.rows.view(np.uint64).tolist()) for each in decoded]


@given(requests)
def test_lookups_are_put_together_as_protobuf_does_it(lookups):
    ours = codec.encode_stream_requests(
        codec.Request(number, table, version, np.array(rows, np.int64)) for number, table, version, rows in lookups
    )

    assert ours == request_of_protobuf(lookups)


@given(requests)
def test_lookups_that_protobuf_put_together_are_read_in_full(lookups):
    assert as_tuples(codec.decode_stream_requests(request_of_protobuf(lookups))) == lookups


traced = st.lists(st.tuples(ids, names, row_numbers, st.text(max_size=60)), min_size=1, max_size=4)


@given(traced)
def test_lookups_with_and_without_a_span_are_written_and_read_as_protobuf_does_it(lookups):
    first, *others = (pb.LookupStreamRequest(id=n, table=t, rows=rows, traceparent=tp) for n, t, rows, tp in lookups)
    expected = with_more(first, others)

    ours = codec.encode_stream_requests(codec.Request(n, t, "", np.array(r, np.int64), tp) for n, t, r, tp in lookups)
    assert ours == expected
    read = codec.decode_stream_requests(expected)
    assert [(each.id, each.table, each.rows.tolist(), each.traceparent) for each in read] == lookups


def test_a_span_costs_a_lookup_no_detour_by_protobuf():
    requests = [codec.Request(number, "t", "v", np.arange(3), "span") for number in range(2)]
    message = codec.encode_stream_requests(requests)

    read = codec.decode_stream_requests(message)

    assert [each.traceparent for each in read] == ["span"] * 2
    assert all(np.shares_memory(each.rows, np.frombuffer(message, np.uint8)) for each in read)


def answer(number, version, payload):
    """An answer that is filled with `payload`, in rows of a byte."""
    payload = np.frombuffer(payload, np.uint8)

    def fill(out):
        out[:] = payload.reshape(out.shape)
        return True

    return codec.Answer(number, version, (payload.size, 1), fill)


@given(answers)
def test_answers_are_put_together_as_protobuf_does_it(replies):
    assert codec.fill_stream_replies([answer(*each) for each in replies]) == reply_of_protobuf(replies)


@pytest.mark.parametrize("sizes", [(1 << 20, 0, 3), (0, 1 << 20), (100_000, 100_000, 100_000), (1 << 20, 1 << 20)])
def test_large_answers_are_put_together_as_protobuf_does_it(sizes):
    rng = np.random.default_rng(0)
    replies = [(number, "v1", rng.bytes(size)) for number, size in enumerate(sizes)]

    assert codec.fill_stream_replies([answer(*each) for each in replies]) == reply_of_protobuf(replies)


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_there_is_no_reply_where_one_of_several_cannot_be_filled(size):
    whole = answer(1, "v1", bytes(size))

    for unfilled in range(3):
        several = [whole._replace(fill=lambda _: False) if number == unfilled else whole for number in range(3)]
        assert codec.fill_stream_replies(several) is None


@given(answers)
def test_answers_that_protobuf_put_together_are_read_in_full(replies):
    decoded = codec.decode_stream_replies(reply_of_protobuf(replies))

    assert [(each.id, each.version, each.rows.tobytes()) for each in decoded] == replies


def test_a_failure_among_answers_is_that_of_one_lookup():
    failure = codec.Failure(11, "row 9 of 5", "ROW_OUT_OF_RANGE", {"row": "9"})
    failed = pb.LookupStreamResponse.FromString(codec.encode_stream_failure(2, failure))
    message = with_more(
        pb.LookupStreamResponse(id=1, version="v", rows=b"a"), [failed, pb.LookupStreamResponse(id=3, rows=b"c")]
    )

    replies = codec.decode_stream_replies(message)

    assert [(each.id, each.rows.tobytes(), each.failure) for each in replies] == [
        (1, b"a", None),
        (2, b"", failure),
        (3, b"c", None),
    ]


@given(requests, st.data())
def test_a_message_that_was_tampered_with_is_read_as_protobuf_reads_it_or_refused(lookups, data):
    message = bytearray(request_of_protobuf(lookups))
    for _ in range(data.draw(st.integers(1, 3))):
        if message:
            place = data.draw(st.integers(0, len(message) - 1))
            message[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    message = bytes(message)
    try:
        meant = pb.LookupStreamRequest.FromString(message)
    except DecodeError:
        with pytest.raises(codec.MalformedMessage, match=f"{len(message)} bytes are no LookupStreamRequest"):
            codec.decode_stream_requests(message)
        return
    if any(each.more for each in meant.more):
        with pytest.raises(codec.MalformedMessage, match="of its own"):
            codec.decode_stream_requests(message)
        return

    expected = [(each.id, each.table, each.version, list(each.rows)) for each in (meant, *meant.more)]
    assert as_tuples(codec.decode_stream_requests(message)) == expected


MORE = b"\x2a\x00"  # a lookup in which everything is left out
DECODERS = (codec.decode_stream_requests, codec.decode_stream_replies)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("before", [b"", b"\x7a\x01x"])  # as we write it, and with a field that nobody knows
def test_more_lookups_than_a_message_may_have_are_refused(decode, before):
    assert len(decode(before + MORE * 63)) == codec.MOST_LOOKUPS_A_MESSAGE == 64

    for number in (64, 100_000):
        with pytest.raises(codec.MalformedMessage, match=f": {number + 1} lookups in one message, at most 64"):
            decode(before + MORE * number)


@pytest.mark.parametrize("decode", DECODERS)
def test_of_far_too_many_lookups_none_is_looked_at(decode):
    message = MORE * 200_000

    tracemalloc.start()
    with pytest.raises(codec.MalformedMessage, match="200001 lookups"):
        decode(message)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes < len(message) // 4  # an object each would need far more


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("before", [b"", b"\x7a\x01x"])
def test_lookups_within_one_of_several_are_refused(decode, before):
    with pytest.raises(codec.MalformedMessage, match="one of its `more` has `more` of its own"):
        decode(before + MORE + b"\x2a\x02" + MORE)


@pytest.mark.parametrize("decode", DECODERS)
def test_lookups_in_lookups_without_end_are_refused(decode):
    message = b""
    while len(message) < 10_000:
        message = b"\x2a" + _varint(len(message)) + message

    with pytest.raises(codec.MalformedMessage, match="bytes are no Lookup"):
        decode(message)


def _varint(number):
    return bytes((number,)) if number < 128 else bytes((number & 0x7F | 0x80, number >> 7))
