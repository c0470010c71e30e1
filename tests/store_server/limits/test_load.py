"""What a node holds for its clients, and who waits for room."""

import asyncio

import pytest

from store_server.failures import CallFailed
from store_server.limits.limits import Limits
from store_server.limits.load import Load

MIB = 1 << 20


def load_of(**limits):
    return Load(Limits(max_in_flight_bytes=64 * MIB, **limits), disk_turns=2)


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


def test_lookups_beyond_what_may_wait_are_refused_with_the_limit_and_when_to_try_again():
    client = load_of(max_queued=10).of("a")
    client.admit(5, 100)

    with pytest.raises(CallFailed, match="of --max-queued 10, 5 are taken; try again in 0.1 s") as caught:
        client.admit(1, 100)
    assert caught.value.retry_seconds == 0.1


def test_bytes_of_requests_are_bounded_and_refusing_takes_nothing():
    load = load_of()
    client = load.of("a")
    client.admit(1, 8 * MIB)

    with pytest.raises(CallFailed, match="--max-in-flight-bytes"):
        client.admit(1, 1)
    assert (load.waiting.taken, load.request_bytes.taken) == (1, 8 * MIB)


async def test_who_waits_for_room_has_it_once_it_is_given_and_a_greedy_one_keeps_nobody_waiting():
    load = load_of()
    greedy, other = load.of("greedy"), load.of("other")
    for _ in range(24):
        await greedy.take_reply_bytes(MIB)
    more = asyncio.create_task(greedy.take_reply_bytes(MIB))
    await settled()
    assert not more.done()

    late = asyncio.create_task(other.take_reply_bytes(MIB))
    greedy.give_reply_bytes(MIB)
    await settled()

    assert more.done()
    assert late.done()


async def test_who_goes_away_while_it_waits_for_room_takes_none():
    load = load_of()
    client = load.of("a")
    await client.take_reply_bytes(24 * MIB)
    waiting = asyncio.create_task(client.take_reply_bytes(24 * MIB))
    at_its_moment = asyncio.create_task(client.take_reply_bytes(MIB))
    await settled()
    waiting.cancel()
    await settled()
    client.give_reply_bytes(24 * MIB)
    at_its_moment.cancel()
    await settled()

    assert load.reply_bytes.taken == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_queued", 1),
        ("max_connections", 0),
        ("max_in_flight_bytes", MIB),
        ("stall_seconds", 0),
        ("max_metadata_bytes", 10),
    ],
)
def test_a_limit_that_nothing_could_pass_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_workers_have_parts_of_what_is_counted_for_the_whole_node():
    part = Limits(max_connections=1000, max_queued=100, max_in_flight_bytes=512 * MIB).of_worker(4)

    assert (part.max_connections, part.max_queued, part.max_in_flight_bytes) == (250, 25, 128 * MIB)


async def test_of_the_event_loop_one_stream_has_as_many_turns_as_thirty_of_another_client():
    load = load_of()
    had: list[str] = []

    async def asks_without_end(client: str) -> None:
        for _ in range(300):
            await load.of(client).loop_turn(1000)
            had.append(client)
            await asyncio.sleep(0)  # the task that writes is given the reply
            await asyncio.sleep(0)  # and gives it to gRPC

    await asyncio.gather(asks_without_end("one"), *(asks_without_end("many") for _ in range(30)))

    assert had[:300].count("one") >= 140


async def test_while_somebody_waits_for_a_turn_of_the_event_loop_nobody_is_answered_out_of_turn():
    load = load_of()
    few = load.of("few")
    waiting = asyncio.gather(*(load.of("many").loop_turn(1000) for _ in range(2)))
    await asyncio.sleep(0)

    assert not few.takes_reply_now(1000, 1000)

    await waiting
    await settled()
    assert few.takes_reply_now(1000, 1000)
