"""Looks at the data root on behalf of many: how many there are, and who waits for which."""

import asyncio
import threading

import grpc
from support.hooked_root import happened, node_on
from support.rows import random_rows
from support.tables import write_table

from engram_store.v1.table_service_pb2 import GetTableRequest
from engram_store.v1.table_service_pb2_grpc import TableServiceStub
from store_server.services.shared_look import SharedLook
from store_server.storage import DataRoot

ROWS = random_rows(100, 16)
LONG_SECONDS = 3600.0


class FakeCatalog:
    """Its reloads wait until they may end; counts those that began."""

    def __init__(self):
        self.is_loading = False
        self.num_looks = 0
        self.begun, self.may_end = threading.Event(), threading.Event()

    def reload(self):
        self.num_looks += 1
        self.begun.set()
        assert self.may_end.wait(60)


async def test_all_who_ask_during_a_look_share_the_next_one():
    catalog = FakeCatalog()
    look = SharedLook(catalog)
    first = asyncio.create_task(look.wait(LONG_SECONDS))
    await happened(catalog.begun)
    others = [asyncio.create_task(look.wait(LONG_SECONDS)) for _ in range(100)]
    await asyncio.sleep(0)
    catalog.may_end.set()

    await asyncio.gather(first, *others)
    assert catalog.num_looks == 2
    await look.wait(LONG_SECONDS)
    assert catalog.num_looks == 3


async def test_nobody_waits_longer_than_the_limit():
    catalog = FakeCatalog()
    look = SharedLook(catalog)

    async with asyncio.timeout(30):
        await asyncio.gather(*(look.wait(0.01) for _ in range(10)))
    assert catalog.num_looks == 1
    catalog.may_end.set()
    await look.wait(LONG_SECONDS)


async def test_nobody_waits_for_a_table_that_is_loaded_into_memory():
    catalog = FakeCatalog()
    catalog.is_loading = True

    async with asyncio.timeout(30):
        await SharedLook(catalog).wait(LONG_SECONDS)

    assert catalog.num_looks == 0


class StuckRoot(DataRoot):
    """A data root that cannot be listed until it answers, once it is stuck."""

    def __init__(self, path):
        super().__init__(path)
        self.answers = threading.Event()
        self.answers.set()

    def table_names(self):
        assert self.answers.wait(60)
        return super().table_names()


async def test_a_table_that_is_served_can_be_opened_while_the_disk_does_not_answer(tmp_path):
    published = write_table(tmp_path / "root", "layer-1", ROWS)
    root = StuckRoot(tmp_path / "root")
    async with (
        node_on(root, reload_seconds=LONG_SECONDS) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        stub = TableServiceStub(channel)
        root.answers.clear()
        try:
            request = GetTableRequest(name="layer-1")
            found = await asyncio.gather(*(stub.GetTable(request, timeout=30) for _ in range(50)))
        finally:
            root.answers.set()

    assert {response.table.version for response in found} == {published}
