"""Calls that are given up: they are over when that is told, at the node too."""

import asyncio
import gc

import grpc
import numpy as np
import pytest
from support.fake_node import FakeNode

from engram_client.call_end import answer_to, end_call
from engram_client.errors import StoreClosed
from engram_client.grpc_transport import GrpcTransport

ROWS = np.zeros((10, 8), np.uint8)


class CallOfAGrpcToCome:
    """Has what is public of a call, and nothing else."""

    def __init__(self, *, is_done=False):
        self.is_done, self.cancelled = is_done, False
        self._ended = asyncio.Event()

    def __await__(self):
        yield from self._ended.wait().__await__()
        raise ConnectionError("it failed at that very moment")

    def done(self):
        return self.is_done

    def cancel(self):
        self.cancelled = True
        self._ended.set()


async def test_a_task_that_waits_for_an_answer_can_be_cancelled_and_ends_the_call():
    node = FakeNode(ROWS)
    node.may_list.clear()
    async with node.listening() as url, grpc.aio.insecure_channel(url.removeprefix("grpc://")) as channel:
        call = channel.unary_unary("/engram_store.v1.TableService/ListTables")(b"")
        asking = asyncio.create_task(answer_to(call))
        await node.listing.wait()

        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
        assert call.cancelled()
        assert await call.details() == "ended by the store"


async def test_who_waits_for_an_answer_when_the_connection_is_closed_is_told_so():
    node = FakeNode(ROWS)
    node.may_list.clear()
    async with node.listening() as url:
        transport = GrpcTransport(url.removeprefix("grpc://"))
        asking = asyncio.create_task(transport.list_tables(60.0))
        await node.listing.wait()

        await transport.close()

        with pytest.raises(StoreClosed):
            await asking


async def test_what_a_call_fails_with_that_nobody_waits_for_any_more_is_not_told_as_a_mistake():
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    asking = asyncio.create_task(answer_to(CallOfAGrpcToCome()))
    await asyncio.sleep(0)

    asking.cancel()
    await asyncio.wait((asking,))
    del asking
    gc.collect()

    assert told == []


def test_a_grpc_that_hides_its_core_is_asked_to_cancel():
    call = CallOfAGrpcToCome()

    end_call(call)

    assert call.cancelled


def test_a_call_that_has_ended_is_left_alone():
    call = CallOfAGrpcToCome(is_done=True)

    end_call(call)

    assert not call.cancelled
