"""Credentials that were replaced are used from the next call on, and what is under way ends as it began."""

import asyncio

import numpy as np
import pytest
from support.certificates import make_authority, make_certificate, make_expired, replace, server_credentials
from support.fake_node import FakeNode
from support.rows import random_rows

import engram_client
from engram_client import errors
from engram_client.grpc_transport import GrpcTransport
from engram_client.keyring import Keyring
from engram_client.security import Security

ROWS = random_rows(100, 8)
SECONDS = 30


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


class SlowNode(FakeNode):
    """Answers lookups of row 0 when it may."""

    def __init__(self):
        super().__init__(ROWS, self.answer_row_0_late)
        self.has_begun, self.may_answer = asyncio.Event(), asyncio.Event()

    async def answer_row_0_late(self, request, send):
        if 0 in request.rows:
            self.has_begun.set()
            await self.may_answer.wait()
        await self.answer_rightly(request, send)


class Rotated:
    """A transport whose token is replaced while a fetch of row 0 is under way."""

    def __init__(self, node, url, token_file):
        self.clock, self.node, self.token_file = Clock(), node, token_file
        token_file.write_text("first")
        keyring = Keyring(Security(token_file=token_file), now=self.clock)
        self.transport = GrpcTransport(url.removeprefix("grpc://"), keyring=keyring)

    async def begin(self):
        self.table = await self.transport.get_table("t", "", SECONDS)
        self.early = asyncio.create_task(self.fetch(0))
        await self.node.has_begun.wait()
        replace(self.token_file, b"second")
        self.clock.seconds = 2.0

    async def fetch(self, row):
        out = np.empty((1, 8), np.uint8)
        await self.transport.fetch(self.table, np.array([row]), out, SECONDS)
        return out


@pytest.fixture
async def node():
    return SlowNode()


@pytest.fixture
async def rotated(node, tmp_path):
    async with node.listening() as url:
        rotated = Rotated(node, url, tmp_path / "token")
        await rotated.begin()
        yield rotated
        await rotated.transport.close()


async def test_a_fetch_under_way_ends_where_it_began_and_the_next_one_goes_by_the_new_token(node, rotated):
    late = await rotated.fetch(1)
    node.may_answer.set()

    assert np.array_equal(late[0], ROWS[1])
    assert np.array_equal((await rotated.early)[0], ROWS[0])
    assert node.authorizations[-2:] == ["Bearer first", "Bearer second"]


async def test_the_stream_before_is_closed_once_nothing_is_under_way_on_it(node, rotated):
    await rotated.fetch(1)
    assert node.open_streams == 2
    node.may_answer.set()
    await rotated.early

    async with asyncio.timeout(SECONDS):
        while node.open_streams > 1:
            await asyncio.sleep(0.01)


async def test_to_close_the_store_ends_what_is_under_way_on_the_connection_before(rotated):
    await rotated.fetch(1)

    await rotated.transport.close()

    with pytest.raises(errors.StoreClosed):
        await rotated.early


async def test_a_file_that_cannot_be_used_any_more_leaves_the_connection_as_it_is(node, rotated, caplog):
    node.may_answer.set()
    replace(rotated.token_file, b"")

    for rotated.clock.seconds in (2.0, 4.0, 6.0):
        assert np.array_equal((await rotated.fetch(1))[0], ROWS[1])

    assert node.streams == 1
    (said,) = [record.message for record in caplog.records]
    assert said.startswith(f"{rotated.token_file} holds no token: it has 0 characters")
    assert said.endswith("what was read before stays in use")


async def test_a_certificate_that_was_refused_is_tried_again_once_it_was_replaced(tmp_path):
    authority = make_authority(tmp_path, "authority")
    own, right = (make_certificate(tmp_path, name, authority) for name in ("node", "right"))
    mine = make_expired(tmp_path, "mine", authority)
    async with FakeNode(ROWS).listening(credentials=server_credentials(own, clients=authority)) as url:
        files = {"ca_file": authority.cert, "cert_file": mine.cert, "key_file": mine.key}
        async with engram_client.connect(url, timeout=SECONDS, **files) as store:
            opening = asyncio.create_task(store.table("t"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(opening), 0.2)
            mine.replace(right)

            assert (await opening).num_rows == 100
