"""A shard map in etcd: followed, swapped, and what becomes of both when etcd is away."""

import asyncio
import contextlib

import pytest
from aetcd import rpc
from support.etcd import needs_etcd, running_etcd
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node, to_message
from store_server.cluster.agreement.etcd_access import EtcdAccess, EtcdAway, EtcdRefused
from store_server.cluster.agreement.etcd_connection import EtcdConnection
from store_server.cluster.agreement.etcd_map_source import EtcdMapSource
from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.agreement.map_source import MapSourceFailed

pytestmark = needs_etcd
FIRST = shard_map_of()
PATIENCE_SECONDS = 30


@contextlib.asynccontextmanager
async def connection_to(url, access=None, call_seconds=5.0):
    connection = EtcdConnection(url, access or EtcdAccess(), call_seconds)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def connection(url):
    async with connection_to(url) as connection:
        yield connection


def of_cluster(url, shard_map=FIRST):
    return shard_map_of(*shard_map.nodes, epoch=shard_map.epoch, cluster=url.name)


async def heard(maps):
    return await asyncio.wait_for(anext(maps), PATIENCE_SECONDS)


async def revision_of(connection):
    return (await connection.range(b"anything")).header.revision


async def test_what_is_there_comes_first_and_then_each_map_that_replaces_it(etcd, connection, url):
    source, first = EtcdMapSource(connection, url), of_cluster(url)
    async with contextlib.aclosing(source.follow()) as maps:
        assert await heard(maps) is None
        assert await source.compare_and_swap(0, first)
        assert await heard(maps) == first
        assert await source.compare_and_swap(1, later(first))
        assert await heard(maps) == later(first)
        etcd.ask("KV", "DeleteRange", rpc.DeleteRangeRequest(key=url.map_key))
        assert await heard(maps) is None

    async with contextlib.aclosing(source.follow()) as maps:
        assert await heard(maps) is None


async def test_the_value_is_the_serialised_message(connection, url):
    await EtcdMapSource(connection, url).compare_and_swap(0, of_cluster(url))

    value = (await connection.range(url.map_key)).kvs[0].value

    assert type(to_message(FIRST)).FromString(value) == to_message(of_cluster(url))


async def test_of_two_proposers_one_wins_and_the_other_sees_the_winners_map(url):
    base = of_cluster(url)
    proposals = [later(base), later(base, sets={})]
    async with connection_to(url) as one, connection_to(url) as other:
        sources = [EtcdMapSource(each, url) for each in (one, other)]
        await sources[0].compare_and_swap(0, base)
        async with contextlib.AsyncExitStack() as stack:
            follows = [await stack.enter_async_context(contextlib.aclosing(each.follow())) for each in sources]
            assert [await heard(maps) for maps in follows] == [base, base]

            won = await asyncio.gather(
                *(each.compare_and_swap(1, proposal) for each, proposal in zip(sources, proposals, strict=True))
            )

            assert sorted(won) == [False, True]
            assert [await heard(maps) for maps in follows] == [proposals[won.index(True)]] * 2


@pytest.mark.parametrize(("expected", "there"), [(1, 0), (0, 1), (2, 1)])
async def test_a_map_is_swapped_only_for_the_one_that_was_expected(connection, url, expected, there):
    source, first = EtcdMapSource(connection, url), of_cluster(url)
    if there:
        await source.compare_and_swap(0, first)

    assert not await source.compare_and_swap(expected, later(first))

    async with contextlib.aclosing(source.follow()) as maps:
        assert await heard(maps) == (first if there else None)


class SendsTwice(EtcdConnection):
    """Its first member stores what it is sent, and dies before it answers; `meanwhile` happens until the next does."""

    meanwhile = None

    async def transact(self, compare, success, failure=None):
        await super().transact(compare, success, failure)
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().transact(compare, success, failure)


async def test_a_map_that_was_stored_though_its_answer_was_lost_is_stored_once(connection, url):
    first, sends_twice = of_cluster(url), SendsTwice(url, EtcdAccess())
    await EtcdMapSource(connection, url).compare_and_swap(0, first)
    try:
        assert await EtcdMapSource(sends_twice, url).compare_and_swap(1, later(first))
    finally:
        await sends_twice.close()

    assert not await EtcdMapSource(connection, url).compare_and_swap(1, later(first, sets={}))


async def test_a_map_that_may_have_been_stored_and_replaced_is_not_said_to_be_either(connection, url):
    first, sends_twice = of_cluster(url), SendsTwice(url, EtcdAccess())
    await EtcdMapSource(connection, url).compare_and_swap(0, first)

    async def another_follows():
        assert await EtcdMapSource(connection, url).compare_and_swap(2, later(later(first)))

    sends_twice.meanwhile = another_follows
    try:
        with pytest.raises(MapSourceFailed, match="whether the map of epoch 2 was stored, as that of epoch 3 is there"):
            await EtcdMapSource(sends_twice, url).compare_and_swap(1, later(first))
    finally:
        await sends_twice.close()


@pytest.mark.parametrize("wrong", [b"\xff\xff", b"", "of another cluster"])
async def test_what_is_no_map_of_this_cluster_is_a_source_that_fails_and_is_not_replaced(etcd, connection, url, wrong):
    value = to_message(FIRST).SerializeToString() if isinstance(wrong, str) else wrong
    etcd.ask("KV", "Put", rpc.PutRequest(key=url.map_key, value=value))
    source = EtcdMapSource(connection, url)

    with pytest.raises(MapSourceFailed, match=f"etcd, /engram/{url.name}/map: "):
        await heard(source.follow())
    with pytest.raises(MapSourceFailed, match=f"etcd, /engram/{url.name}/map: "):
        await source.compare_and_swap(0, of_cluster(url))

    assert (await connection.range(url.map_key)).kvs[0].value == value


async def test_a_map_that_is_too_large_for_etcd_is_refused_before_it_is_sent(connection, url):
    node = Node(id="a", address="h:1", labels={"zone": "z" * (1 << 20)})
    large = later(of_cluster(url), nodes=(node,))

    with pytest.raises(MapSourceFailed, match=r"would have 1,04\d,\d{3} bytes, at most 1,048,576"):
        await EtcdMapSource(connection, url).compare_and_swap(0, large)


async def test_a_watch_from_a_revision_that_etcd_has_forgotten_ends_and_begins_anew(etcd, connection, url):
    source, first = EtcdMapSource(connection, url), of_cluster(url)
    old = await revision_of(connection)
    await source.compare_and_swap(0, first)
    await source.compare_and_swap(1, later(first))
    etcd.ask("KV", "Compact", rpc.CompactionRequest(revision=await revision_of(connection)))

    with pytest.raises(MapSourceFailed, match=r"what was before revision \d+ is forgotten"):
        await heard(connection.watch(url.map_key, b"", old))

    async with contextlib.aclosing(source.follow()) as maps:
        assert await heard(maps) == later(first)


async def test_nobody_who_listens_is_an_etcd_that_is_away(url):
    async with connection_to(EtcdUrl(endpoints=("127.0.0.1:1",), name="c")) as connection:
        with pytest.raises(EtcdAway, match=r"etcd at 127\.0\.0\.1:1 does not answer"):
            await connection.range(b"key")
        with pytest.raises(EtcdAway):
            await heard(connection.watch(b"key", b"", 1))


async def test_a_member_that_is_away_is_passed_over(etcd):
    async with connection_to(EtcdUrl(endpoints=("127.0.0.1:1", etcd.endpoint), name="c")) as connection:
        assert (await connection.range(b"no such key")).count == 0


async def test_an_etcd_that_does_not_answer_is_away_within_the_time_of_a_call(etcd, url):
    async with connection_to(url, call_seconds=0.2) as connection:
        await connection.range(b"key")
        with etcd.stopped():
            for call in (connection.range(b"key"), connection.grant_lease(5), connection.renew_lease(7)):
                with pytest.raises(EtcdAway):
                    await asyncio.wait_for(call, PATIENCE_SECONDS)
            with pytest.raises(EtcdAway):
                await heard(connection.watch(b"key", b"", 1))
        assert (await connection.range(b"key")).count == 0


async def test_who_follows_hears_that_etcd_ends_and_follows_again_once_it_is_back(tmp_path):
    with running_etcd(tmp_path / "data") as etcd:
        url = EtcdUrl(endpoints=(etcd.endpoint,), name="prod")
        async with connection_to(url) as connection:
            source = EtcdMapSource(connection, url)
            maps = source.follow()
            assert await heard(maps) is None
            await source.compare_and_swap(0, FIRST)
            assert await heard(maps) == FIRST

            etcd.kill()
            with pytest.raises(MapSourceFailed):
                await heard(maps)
            with pytest.raises(EtcdAway):
                await source.compare_and_swap(1, later(FIRST))
            etcd.start()

            while True:
                with contextlib.suppress(EtcdAway):
                    assert await source.compare_and_swap(1, later(FIRST))
                    break
            async with contextlib.aclosing(source.follow()) as maps:
                assert await heard(maps) == later(FIRST)


async def test_an_etcd_with_users_answers_who_knows_the_password_and_names_who_does_not(tmp_path):
    with running_etcd(tmp_path / "data") as etcd:
        etcd.make_user("root", "right")
        password = tmp_path / "password"
        password.write_text("right\n")
        url = EtcdUrl(endpoints=(etcd.endpoint,), name="prod", user="root")
        async with connection_to(url, EtcdAccess(password_file=password), call_seconds=1) as connection:
            source = EtcdMapSource(connection, url)
            assert await source.compare_and_swap(0, FIRST)
            # Its data and the token that it gave are gone.
            etcd.kill()
            etcd.lose_data()
            etcd.start()
            etcd.make_user("root", "right")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    with contextlib.suppress(EtcdAway):
                        assert await source.compare_and_swap(0, later(FIRST))
                        break
            async with contextlib.aclosing(source.follow()) as maps:
                assert await heard(maps) == later(FIRST)

        password.write_text("wrong")
        for user, said in (
            ("root", "authentication failed, invalid user ID or password"),
            (None, "user name is empty"),
        ):
            url = EtcdUrl(endpoints=(etcd.endpoint,), name="prod", user=user)
            async with connection_to(url, EtcdAccess(password_file=password)) as connection:
                with pytest.raises(EtcdRefused, match=said):
                    await heard(EtcdMapSource(connection, url).follow())
