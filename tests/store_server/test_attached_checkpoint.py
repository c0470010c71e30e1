"""Checkpoints served as they lie, by real nodes: small ones, ones that change, and one of full size."""

import os
import time

import numpy as np
import pytest
from support.processes import node_process

import engram_client
from store_server.catalog import Catalog
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot, root_writer
from store_server.storage.checkpoint import SyntheticCheckpoint, read_checkpoint, synthetic_rows, write_checkpoint

LAYERS = (1, 14)


def attach(root, directory):
    manifests = read_checkpoint(directory).manifests
    with root_writer(root) as writer:
        writer.attach({f"v41/layer-{layer}": manifest for layer, manifest in manifests.items()})


@pytest.fixture
def small(tmp_path):
    write_checkpoint(tmp_path / "ck", SyntheticCheckpoint(scale=1e-5))
    attach(tmp_path / "root", tmp_path / "ck")
    return tmp_path


def serving(root, **options):
    return running(ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=0.05, **options))


@pytest.mark.parametrize(
    ("in_memory", "backend"),
    [((), "safetensors"), (("v41/layer-1", "v41/layer-14"), "memory")],
    ids=["mapped", "memory"],
)
async def test_rows_of_every_layer_arrive_packed(small, in_memory, backend):
    async with (
        serving(small / "root", in_memory=frozenset(in_memory)) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        for layer in LAYERS:
            table = await store.table(f"v41/layer-{layer}")
            ids = np.random.default_rng(layer).integers(0, table.num_rows, (50, 100))

            rows = await table.fetch(ids)

            assert (table.row_bytes, table.row_format, table.info.backend) == (264, "float8_e4m3+e8m0/32", backend)
            assert np.array_equal(rows.reshape(-1, 264), synthetic_rows(ids.reshape(-1), layer, 256))


async def test_rows_come_straight_from_the_files_without_a_server_too(small):
    async with engram_client.connect(f"file://{small / 'root'}") as store:
        table = await store.table("v41/layer-14")

        assert np.array_equal(await table.fetch([3, 0]), synthetic_rows(np.array([3, 0]), 14, 256))


def cut_short(path):
    os.truncate(path, 4096)


def write_in_place(path):
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")


def put_another_in_its_place(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("change", [cut_short, write_in_place, put_another_in_its_place, os.unlink])
async def test_a_file_that_changes_under_a_node_is_noticed_and_only_its_table_refused(small, change):
    async with serving(small / "root") as node, engram_client.connect(f"grpc://{node.address}") as store:
        changed, intact = [await store.table(f"v41/layer-{layer}") for layer in (14, 1)]
        change(small / "ck" / "model-00048-of-00048.safetensors")

        with pytest.raises(engram_client.TableDamaged):
            await store.table("v41/layer-14")  # the node looks at the files before it describes a table
        with pytest.raises(engram_client.TableDamaged):
            await changed.fetch([0])

        assert np.array_equal(await intact.fetch([7]), synthetic_rows(np.array([7]), 1, 256))


async def test_a_file_that_was_away_for_a_while_is_served_again_by_itself(small):
    path = small / "ck" / "model-00048-of-00048.safetensors"
    async with serving(small / "root") as node, engram_client.connect(f"grpc://{node.address}") as store:
        path.rename(small / "away")
        with pytest.raises(engram_client.TableDamaged):
            await store.table("v41/layer-14")

        (small / "away").rename(path)

        table = await store.table("v41/layer-14")
        assert np.array_equal(await table.fetch([7]), synthetic_rows(np.array([7]), 14, 256))


async def test_a_table_that_was_refused_is_served_once_it_is_attached_again(small):
    path = small / "ck" / "model-00048-of-00048.safetensors"
    async with serving(small / "root") as node, engram_client.connect(f"grpc://{node.address}") as store:
        os.utime(path, ns=(1, 1))
        with pytest.raises(engram_client.TableDamaged):
            await store.table("v41/layer-14")

        attach(small / "root", small / "ck")

        table = await store.table("v41/layer-14")
        assert np.array_equal(await table.fetch([7]), synthetic_rows(np.array([7]), 14, 256))


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def transferred_bytes():
    """How much this process has read from files and written to them so far, pages of maps aside."""
    with open("/proc/self/io") as counters:
        values = dict(line.split(": ") for line in counters)
    return int(values["rchar"]) + int(values["wchar"])


def test_to_attach_and_open_a_full_size_checkpoint_reads_headers_and_copies_nothing(tmp_path):
    """What makes it quick; tests/bench/attach.py prints how quick."""
    write_checkpoint(tmp_path / "ck", SyntheticCheckpoint(scale=1), sparse=True)
    before = transferred_bytes()

    attach(tmp_path / "root", tmp_path / "ck")
    catalog = Catalog(DataRoot.open(tmp_path / "root"), ServerConfig(root=tmp_path / "root"))
    catalog.reload()

    assert transferred_bytes() - before < 1 << 20
    opened = [catalog.find(f"v41/layer-{layer}", "") for layer in LAYERS]
    assert sum(version.manifest.num_bytes for version in opened) > 200e9
    catalog.close()


def test_a_full_size_checkpoint_is_right_at_every_border_and_takes_little_memory(tmp_path):
    """200 GB that take 3 MB of the disk: all places where 32 bits would not do hold real rows."""
    made_up = SyntheticCheckpoint(scale=1)
    write_checkpoint(tmp_path / "ck", made_up, sparse=True)
    attach(tmp_path / "root", tmp_path / "ck")

    with node_process(tmp_path / "root", is_fresh=True) as node, engram_client.connect_blocking(node.url) as store:
        for shard in made_up.shards():
            table, rows = store.table(f"v41/layer-{shard.layer}"), shard.landmarks()
            assert np.array_equal(table.fetch(rows), synthetic_rows(rows, shard.layer, 256))
            assert not table.fetch([int(rows[4]) + 1000]).any()  # a hole
        assert resident_bytes(node.process.pid) < 300e6


def test_looking_what_of_a_full_size_table_lies_in_ram_ends_when_its_time_is_over(tmp_path):
    write_checkpoint(tmp_path / "ck", SyntheticCheckpoint(scale=1), sparse=True)
    attach(tmp_path / "root", tmp_path / "ck")
    root = DataRoot.open(tmp_path / "root")
    backend = root.open_backend("v41/layer-1", root.current_version("v41/layer-1"))

    came_to_the_end = backend.refresh_residency(time.monotonic())

    assert not came_to_the_end
    assert not backend.resident
    backend.close()
