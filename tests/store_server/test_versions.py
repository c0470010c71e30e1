"""A node follows its data root: what is published, switched, dropped or damaged while it runs."""

import asyncio

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.hooked_root import node_on
from support.rows import random_rows
from support.tables import write_table

import engram_client
from engram_client import errors
from engram_store.v1 import lookup_service_pb2_grpc as lookup_pb2_grpc
from engram_store.v1.lookup_service_pb2 import LookupRequest
from store_server.config import ServerConfig
from store_server.node import running
from store_server.opening import NothingToServe
from store_server.storage import DataRoot, TableNotFound, root_writer

OLD, NEW = random_rows(100, 16, seed=1), random_rows(120, 16, seed=2)


@pytest.fixture
def root(tmp_path):
    write_table(tmp_path / "root", "layer-1", OLD)
    return tmp_path / "root"


def serving(root, **settings):
    return running(ServerConfig(root=root, listen="127.0.0.1:0", **settings))


def truncate(root, name):
    data_root = DataRoot.open(root)
    [data] = (root / "tables" / name / "versions" / data_root.current_version(name)).glob("rows.*")
    with data.open("r+b") as file:
        file.truncate(data.stat().st_size - 8)
    return data


async def test_a_handle_stays_on_its_version_until_it_is_refreshed(root):
    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        table = await store.table("layer-1")
        old = table.version
        new = await asyncio.to_thread(write_table, root, "layer-1", NEW)

        assert np.array_equal(await table.fetch(np.arange(100)), OLD)
        opened = await store.table("layer-1")
        assert (opened.version, opened.num_rows) == (new, 120)
        await table.refresh()
        assert np.array_equal(await table.fetch(np.arange(120)), NEW)
        assert np.array_equal(await (await store.table("layer-1", version=old)).fetch([5]), OLD[[5]])


async def test_a_version_that_was_dropped_is_not_found_by_those_who_still_hold_it(root):
    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        table = await store.table("layer-1")

        def replace():
            write_table(root, "layer-1", NEW)
            with root_writer(root) as writer:
                writer.drop("layer-1", table.version)

        await asyncio.to_thread(replace)
        current = await store.table("layer-1")

        with pytest.raises(errors.VersionNotFound, match=current.version):
            await table.fetch([1])
        assert np.array_equal(await current.fetch([1]), NEW[[1]])


async def test_the_node_finds_new_tables_by_itself(root):
    async with serving(root, reload_seconds=0.05) as node, grpc.aio.insecure_channel(node.address) as channel:
        await asyncio.to_thread(write_table, root, "layer-2", NEW)

        health = health_pb2_grpc.HealthStub(channel)
        async with asyncio.timeout(30):
            async for update in health.Watch(health_pb2.HealthCheckRequest(service="layer-2")):
                if update.status == health_pb2.HealthCheckResponse.SERVING:
                    break
        found = await lookup_pb2_grpc.LookupServiceStub(channel).Lookup(LookupRequest(table="layer-2", rows=[7]))

    assert found.rows == NEW[7].tobytes()


async def test_a_damaged_table_is_named_and_the_others_are_served(root, capsys):
    write_table(root, "layer-2", NEW)
    data = truncate(root, "layer-1")

    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        assert np.array_equal(await (await store.table("layer-2")).fetch([3]), NEW[[3]])
        assert [table.name for table in await store.tables()] == ["layer-2"]
        with pytest.raises(errors.TableDamaged, match="layer-1") as caught:
            await store.table("layer-1")
        async with grpc.aio.insecure_channel(node.address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            damaged = await check(health_pb2.HealthCheckRequest(service="layer-1"))
            whole = await check(health_pb2.HealthCheckRequest(service=""))

    assert damaged.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert whole.status == health_pb2.HealthCheckResponse.SERVING
    assert str(root) not in str(caught.value)  # paths of the node are not for its clients
    log = capsys.readouterr().out
    assert str(data) in log
    assert "1600" in log
    assert "1592" in log


async def test_a_node_whose_tables_are_all_damaged_does_not_start(root):
    truncate(root, "layer-1")

    with pytest.raises(NothingToServe, match="1 table"):
        async with serving(root):
            pass


async def test_a_node_without_tables_starts_and_waits_for_some(tmp_path):
    with root_writer(tmp_path / "root"):
        pass

    async with serving(tmp_path / "root") as node, engram_client.connect(f"grpc://{node.address}") as store:
        assert await store.tables() == []
        await asyncio.to_thread(write_table, tmp_path / "root", "layer-1", OLD)
        assert np.array_equal(await (await store.table("layer-1")).fetch([0]), OLD[[0]])


async def test_a_table_to_load_into_memory_that_is_not_there_is_an_error(root):
    with pytest.raises(TableNotFound, match="layer-7"):
        async with serving(root, in_memory=frozenset({"layer-7"})):
            pass


@pytest.mark.parametrize(
    "wrong",
    [{"drain_seconds": -1}, {"reload_seconds": 0}, {"gather_threads": 0}, {"max_reply_bytes": 100}],
)
def test_settings_out_of_range_are_refused_by_name_and_value(wrong, tmp_path):
    [(name, value)] = wrong.items()

    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        ServerConfig(root=tmp_path, **wrong)


async def test_a_damaged_version_that_is_imported_again_is_served_again(root):
    write_table(root, "layer-2", NEW)
    truncate(root, "layer-1")

    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        with pytest.raises(errors.TableDamaged):
            await store.table("layer-1")
        await asyncio.to_thread(write_table, root, "layer-1", OLD)

        assert np.array_equal(await (await store.table("layer-1")).fetch([5]), OLD[[5]])


async def test_an_unreadable_current_file_leaves_the_table_on_the_version_it_had(root):
    write_table(root, "layer-2", NEW)
    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        (root / "tables" / "layer-1" / "CURRENT").write_text("nonsense\n")

        assert np.array_equal(await (await store.table("layer-1")).fetch([5]), OLD[[5]])

    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        with pytest.raises(errors.TableDamaged):
            await store.table("layer-1")
        assert np.array_equal(await (await store.table("layer-2")).fetch([5]), NEW[[5]])


async def test_a_data_root_that_is_away_for_a_moment_takes_no_table_away(root):
    async with serving(root) as node, engram_client.connect(f"grpc://{node.address}") as store:
        table = await store.table("layer-1")
        root.rename(root.with_name("elsewhere"))

        assert np.array_equal(await table.fetch([5]), OLD[[5]])
        assert np.array_equal(await (await store.table("layer-1")).fetch([5]), OLD[[5]])


class FailingOnce(DataRoot):
    """A data root whose tables cannot be listed the first time after `fails` was set, by a mistake of ours."""

    fails = False

    def table_names(self):
        if self.fails:
            self.fails = False
            raise ZeroDivisionError
        return super().table_names()


async def test_no_failure_ends_the_following_of_the_data_root(root):
    data_root = FailingOnce(root)
    async with (
        node_on(data_root, reload_seconds=0.05) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        data_root.fails = True
        await asyncio.to_thread(write_table, root, "layer-2", NEW)

        async with asyncio.timeout(30):
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="layer-2"))
            while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
                pass

    assert not data_root.fails
