"""The hot codec writes what protobuf writes and reads what protobuf may write."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engram_store import codec
from engram_store.v1 import error_reason_pb2
from engram_store.v1 import lookup_service_pb2 as pb

names = st.text(max_size=200)
ids = st.integers(0, 2**64 - 1)
row_numbers = st.lists(st.integers(0, 2**63 - 1), max_size=50)
payloads = st.binary(max_size=400)


def varint(number):
    """A length as protobuf writes it, for lengths from 128 to 16,383."""
    return bytes((number & 0x7F | 0x80, number >> 7))


@given(ids, names, names, row_numbers)
def test_a_stream_request_is_encoded_as_protobuf_encodes_it(number, table, version, rows):
    expected = pb.LookupStreamRequest(id=number, table=table, version=version, rows=rows)

    request = codec.Request(number, table, version, np.array(rows, np.int64))
    assert codec.encode_stream_requests([request]) == expected.SerializeToString()


@given(names, names, row_numbers)
def test_a_unary_request_is_encoded_as_protobuf_encodes_it(table, version, rows):
    expected = pb.LookupRequest(table=table, version=version, rows=rows)

    assert codec.encode_lookup_request(table, version, np.array(rows, np.int64)) == expected.SerializeToString()


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<u8", ">u4", "i1"])
@pytest.mark.parametrize("step", [1, 2, -1])
def test_row_numbers_go_out_little_endian_however_they_lie_in_memory(dtype, step):
    rows = np.arange(100, dtype=dtype)[::step]
    expected = b"".join(number.to_bytes(8, "little") for number in range(100)[::step])

    assert codec.encode_lookup_request("", "", rows).endswith(b"\x1a" + varint(len(expected)) + expected)
    request = codec.Request(0, "", "", rows)
    assert codec.encode_stream_requests([request]).endswith(b"\x22" + varint(len(expected)) + expected)


@pytest.mark.parametrize("cut", [b"\x1a\x10", b"\x1a\x08"])  # as we write it, and in two parts, as protobuf may
def test_row_numbers_come_in_little_endian_and_are_this_hosts_own_integers(cut):
    message = cut + (258).to_bytes(8, "little") + (b"" if cut[1] == 16 else cut) + (3).to_bytes(8, "little")

    rows = codec.decode_lookup_request(message).rows

    assert rows.tolist() == [258, 3]
    assert rows.dtype == np.int64
    assert rows.dtype.isnative


@given(ids, names, payloads)
def test_a_reply_is_encoded_as_protobuf_encodes_it(number, version, rows):
    array = np.frombuffer(rows, np.uint8)

    stream = pb.LookupStreamResponse(id=number, version=version, rows=rows)
    assert codec.encode_stream_reply(number, version, array) == stream.SerializeToString()
    unary = pb.LookupResponse(version=version, rows=rows)
    assert codec.encode_lookup_reply(version, array) == unary.SerializeToString()


SHAPES = [(0, 264), (3, 1), (16, 264), (1000, 264), (4096, 264), (2, 1 << 20)]  # copied, and written in place


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reply_that_is_filled_is_encoded_as_protobuf_encodes_it(shape):
    rows = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def fill(out):
        out[:] = rows
        return True

    stream = pb.LookupStreamResponse(id=7, version="v", rows=rows.tobytes())
    assert codec.fill_stream_replies([codec.Answer(7, "v", shape, fill)]) == stream.SerializeToString()
    unary = pb.LookupResponse(version="v", rows=rows.tobytes())
    assert codec.fill_lookup_reply(codec.Answer(0, "v", shape, fill)) == unary.SerializeToString()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_filled_is_given_as_it_lies_in_memory_that_can_be_written(shape):
    def fill(out):
        assert (out.shape, out.dtype, out.flags.c_contiguous, out.flags.writeable) == (shape, np.uint8, True, True)
        return True

    assert codec.fill_stream_replies([codec.Answer(1, "v", shape, fill)]) is not None


@pytest.mark.parametrize("shape", SHAPES)
def test_what_cannot_be_filled_is_no_reply(shape):
    assert codec.fill_stream_replies([codec.Answer(1, "v", shape, lambda _: False)]) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_while_filling_is_the_one_that_is_raised(shape):
    def fail(_):
        raise KeyError("closed")

    with pytest.raises(KeyError, match="closed"):
        codec.fill_stream_replies([codec.Answer(1, "v", shape, fail)])


@given(ids, names, names, row_numbers)
def test_requests_that_protobuf_wrote_are_read_in_full(number, table, version, rows):
    message = pb.LookupStreamRequest(id=number, table=table, version=version, rows=rows).SerializeToString()
    (request,) = codec.decode_stream_requests(message)
    assert (request.id, request.table, request.version, request.rows.tolist()) == (number, table, version, rows)

    message = pb.LookupRequest(table=table, version=version, rows=rows).SerializeToString()
    request = codec.decode_lookup_request(message)
    assert (request.id, request.table, request.version, request.rows.tolist()) == (0, table, version, rows)


@given(ids, names, payloads)
def test_replies_that_protobuf_wrote_are_read_in_full(number, version, rows):
    message = pb.LookupStreamResponse(id=number, version=version, rows=rows).SerializeToString()
    (reply,) = codec.decode_stream_replies(message)
    assert (reply.id, reply.version, reply.rows.tobytes(), reply.failure) == (number, version, rows, None)

    reply = codec.decode_lookup_reply(pb.LookupResponse(version=version, rows=rows).SerializeToString())
    assert (reply.id, reply.version, reply.rows.tobytes()) == (0, version, rows)


def test_fields_in_another_order_unknown_fields_and_unpacked_numbers_are_understood():
    rows = b"".join(b"\x21" + n.to_bytes(8, "little") for n in (7, 5))  # field 4, one number each
    unknown = b"\x7a\x03abc"  # field 15
    message = rows + b"\x12\x01t" + unknown + b"\x09" + (9).to_bytes(8, "little") + b"\x1a\x01v"

    (request,) = codec.decode_stream_requests(message)

    assert (request.id, request.table, request.version, request.rows.tolist()) == (9, "t", "v", [7, 5])


def test_a_row_number_above_two_to_the_63_shows_as_negative_and_never_as_another_row():
    message = pb.LookupRequest(table="t", rows=[2**64 - 1, 2**63]).SerializeToString()
    assert codec.decode_lookup_request(message).rows.tolist() == [-1, -(2**63)]

    unusual = b"\x1a\x08" + b"\xff" * 8 + b"\x0a\x01t"
    assert codec.decode_lookup_request(unusual).rows.tolist() == [-1]


def test_a_failure_survives_the_wire():
    failure = codec.Failure(11, "row 9 of 5", "ROW_OUT_OF_RANGE", {"row": "9", "num_rows": "5"})

    (reply,) = codec.decode_stream_replies(codec.encode_stream_failure(3, failure))

    assert (reply.id, reply.failure) == (3, failure)
    assert reply.rows.size == 0


@given(ids, names, payloads)
def test_a_reply_that_says_that_the_node_is_about_to_stop_is_protobufs_own(number, version, rows):
    expected = pb.LookupStreamResponse(id=number, version=version, rows=rows, draining=True).SerializeToString()

    message = codec.with_draining(codec.encode_stream_reply(number, version, np.frombuffer(rows, np.uint8)))

    assert message == expected
    (reply,) = codec.decode_stream_replies(message)
    assert (reply.id, reply.version, reply.rows.tobytes(), reply.is_draining) == (number, version, rows, True)
    assert not codec.decode_stream_replies(message.removesuffix(b"\x30\x01"))[0].is_draining


def test_several_replies_in_one_message_say_at_its_head_that_the_node_is_about_to_stop():
    more = [pb.LookupStreamResponse(id=number, version="v", rows=b"abcd") for number in (2, 3)]
    message = pb.LookupStreamResponse(id=1, version="v", rows=b"efgh", more=more)

    replies = codec.decode_stream_replies(codec.with_draining(message.SerializeToString()))

    assert [(reply.id, reply.rows.tobytes(), reply.is_draining) for reply in replies] == [
        (1, b"efgh", True),
        (2, b"abcd", False),
        (3, b"abcd", False),
    ]


def test_a_failure_too_may_say_that_the_node_is_about_to_stop():
    failure = codec.Failure(5, "no table 't'", "TABLE_NOT_FOUND", {"table": "t"})

    message = codec.with_draining(codec.encode_stream_failure(3, failure))

    assert pb.LookupStreamResponse.FromString(message).draining
    (reply,) = codec.decode_stream_replies(message)
    assert (reply.id, reply.failure, reply.is_draining) == (3, failure, True)


def test_a_reason_that_this_client_does_not_know_yet_is_kept_as_a_number():
    message = pb.LookupStreamResponse(id=1)
    message.failure.reason = 999

    (reply,) = codec.decode_stream_replies(message.SerializeToString())

    assert reply.failure is not None
    assert reply.failure.reason == "REASON_999"


DECODERS = (
    codec.decode_stream_requests,
    codec.decode_lookup_request,
    codec.decode_stream_replies,
    codec.decode_lookup_reply,
)


@given(st.binary(max_size=64))
def test_garbage_is_read_as_protobuf_reads_it_or_refused(garbage):
    for decode in DECODERS:
        try:
            decode(garbage)
        except codec.MalformedMessage as error:
            assert str(len(garbage)) in str(error)


@given(st.binary(max_size=64))
def test_whatever_is_accepted_means_what_protobuf_says_it_means(garbage):
    try:
        requests = codec.decode_stream_requests(garbage)
    except codec.MalformedMessage:
        refused_with_reason(garbage)
        return

    parsed = pb.LookupStreamRequest.FromString(garbage)
    for request, meant in zip(requests, [parsed, *parsed.more], strict=True):
        assert (request.id, request.table, request.version) == (meant.id, meant.table, meant.version)
        assert request.rows.view(np.uint64).tolist() == list(meant.rows)


def refused_with_reason(garbage):
    """Check that protobuf refuses it as well, or that it is more than there may be in one message."""
    try:
        parsed = pb.LookupStreamRequest.FromString(garbage)
    except DecodeError:
        return
    assert len(parsed.more) >= codec.MOST_LOOKUPS_A_MESSAGE or any(each.more for each in parsed.more)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "message", [b"\xff\xff", b"\x12\x7f", b"\x1a\xff\xff\xff\xff\xff\xff", b"\x22\x03abc", b"\x12\x02\xff\xfe"]
)
def test_cut_and_misfitting_messages_never_raise_anything_else(decode, message):
    try:
        decode(message)
    except codec.MalformedMessage as error:
        assert "are no Lookup" in str(error)


def test_every_reason_of_the_wire_has_a_name_of_its_own():
    names = error_reason_pb2.ErrorReason.keys()

    assert all(name.startswith("ERROR_REASON_") for name in names)
    assert len(set(names)) == len(names)


def test_lookups_are_given_up_as_protobuf_would_write_it():
    ids = [1, 7, 2**64 - 1]

    message = codec.encode_given_up(ids)

    assert message == pb.LookupStreamRequest(given_up=ids).SerializeToString()
    assert codec.decode_given_up(message) == ids


def test_a_message_of_lookups_gives_none_up():
    request = codec.Request(5, "a", "v", np.arange(3))

    assert codec.decode_given_up(codec.encode_stream_requests([request])) is None
    assert codec.decode_given_up(b"") is None


def test_what_gives_lookups_up_holds_nothing_else():
    both = pb.LookupStreamRequest(given_up=[1]).SerializeToString() + b"\x12\x01a"

    with pytest.raises(codec.MalformedMessage, match="something else"):
        codec.decode_given_up(both)
    with pytest.raises(codec.MalformedMessage, match="no LookupStreamRequest"):
        codec.decode_given_up(b"\x32\x05abc")
