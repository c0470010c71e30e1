"""A node with a map of its own making leads no client astray; one that is only ahead of others is believed."""

import asyncio

import numpy as np
import pytest
from support.fake_cluster import FakeCluster, shard_map_of, sharded
from support.virtual_clock import run_virtually

from engram_client.cluster.map_claims import MapClaims
from engram_client.errors import ProtocolError
from engram_store.shard_map import MAX_MAP_BYTES, to_message
from engram_store.v1 import cluster_service_pb2 as pb

PAIRS = [(0, 1), (1, 2), (2, 3), (3, 0)]
KNOWN = shard_map_of(4, sharded(PAIRS), epoch=5)
NEXT = shard_map_of(4, sharded([(1, 2), (2, 3), (3, 0), (0, 1)]), epoch=6)
AFTER_NEXT = shard_map_of(4, sharded([(2, 3), (3, 0), (0, 1), (1, 2)]), epoch=7)
FORGED = shard_map_of(4, sharded([(2,), (2,), (2,), (2,)]), epoch=6)
FAR_FORGED = shard_map_of(1, sharded([(0,)] * 4), epoch=10**9)


async def claims_of(*maps):
    claims = MapClaims(KNOWN)
    for each in maps:
        is_news = each.epoch > KNOWN.epoch
        await claims.hear(pb.GetShardMapResponse(epoch=each.epoch, map=to_message(each) if is_news else None))
    return claims


@pytest.mark.parametrize(
    ("maps", "confirmed"),
    [
        ([NEXT], None),
        ([NEXT, KNOWN, KNOWN], None),
        ([NEXT, NEXT], NEXT),
        ([KNOWN, NEXT, KNOWN, NEXT], NEXT),
        ([NEXT, AFTER_NEXT], NEXT),
        ([AFTER_NEXT, NEXT, AFTER_NEXT], AFTER_NEXT),
        ([FORGED, NEXT], None),
        ([FORGED, NEXT, NEXT], NEXT),
        ([FAR_FORGED, KNOWN], None),
        ([FAR_FORGED, NEXT, NEXT], NEXT),
    ],
)
async def test_a_map_needs_the_word_of_two(maps, confirmed):
    claims = await claims_of(*maps)

    assert claims.confirmed() == confirmed


async def test_a_map_of_many_shards_keeps_nobody_waiting_and_is_parsed_once():
    large = shard_map_of(4, sharded(PAIRS * 1000), epoch=6)
    claims, response = MapClaims(KNOWN), pb.GetShardMapResponse(epoch=6, map=to_message(large))

    hearing = asyncio.create_task(claims.hear(response))
    await asyncio.sleep(0)
    assert not hearing.done()
    await hearing
    again = asyncio.create_task(claims.hear(response))
    await asyncio.sleep(0)
    assert again.done()

    assert claims.confirmed() == large


async def test_a_map_that_is_larger_than_any_can_be_is_refused():
    message = to_message(NEXT)
    message.nodes[0].address = "z" * MAX_MAP_BYTES
    claims = MapClaims(KNOWN)

    with pytest.raises(ProtocolError, match=r"epoch 6: it has 1,048,\d+ bytes, at most 1,048,576 are possible"):
        await claims.hear(pb.GetShardMapResponse(epoch=6, map=message))

    assert claims.newest() is None


@pytest.mark.parametrize("forged", [FORGED, FAR_FORGED], ids=["of the next epoch", "of an epoch far ahead"])
def test_a_forged_map_costs_no_fetch_and_what_is_agreed_on_later_is_taken(forged):
    async def read_beside_a_liar():
        cluster = FakeCluster(KNOWN)
        cluster.nodes[2].shard_map = forged
        for _ in range(20):
            await cluster.fetch(np.arange(400))
            await asyncio.sleep(1)
        assert cluster.client.maps.newest == KNOWN

        for number in (0, 1, 3):
            cluster.nodes[number].shard_map = NEXT
        for _ in range(20):
            await cluster.fetch(np.arange(400))
            await asyncio.sleep(1)
        assert cluster.client.maps.newest == NEXT

    run_virtually(read_beside_a_liar())


def test_the_last_node_that_answers_is_believed():
    async def lose_all_but_one():
        cluster = FakeCluster(KNOWN)
        for number in (1, 2, 3):
            cluster.nodes[number].is_up = False
        cluster.nodes[0].shard_map = shard_map_of(1, sharded([(0,)] * 4), epoch=6)

        await cluster.fetch(np.arange(400))

        assert cluster.client.maps.newest == cluster.nodes[0].shard_map

    run_virtually(lose_all_but_one())


def test_a_node_is_not_believed_because_it_was_alone_after_others_had_agreed():
    async def look_for_an_epoch_that_only_a_liar_knows():
        cluster = FakeCluster(KNOWN)
        cluster.spread(NEXT)
        cluster.nodes[2].shard_map = FAR_FORGED
        for _ in range(20):
            await cluster.client.maps.look(at_least=FAR_FORGED.epoch)

        assert cluster.client.maps.newest == NEXT

    run_virtually(look_for_an_epoch_that_only_a_liar_knows())
