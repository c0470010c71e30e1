"""A node on a disk that fails in some way: what is lost is refused and named, everything else is served right."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from chaos.disk.commands import run
from chaos.disk.disks import DISKS, failing
from support.checkpoints import attach_rows
from support.processes import NodeProcess, node_process
from support.rows import random_rows
from support.steady_load import SteadyLoad
from support.tables import write_table

import engram_client
from engram_client.errors import EngramError, TableDamaged
from store_server.storage import DataRoot

ROWS = random_rows(5 * 4_095, 264)
NEW = ROWS[::-1].copy()
ALL = np.arange(len(ROWS))
_FETCHES = 20
_OF_DOOMED = "root/tables/doomed/*/rows.*"


@pytest.mark.parametrize("name", DISKS)
async def test_rows_are_served_while_nothing_can_be_written_and_what_is_imported_afterwards_is_served_too(
    tmp_path: Path, name: str
) -> None:
    np.save(tmp_path / "new.npy", NEW)
    with DISKS[name](tmp_path) as disk:
        root = disk.place / "root"
        write_table(root, "t", ROWS)
        with node_process(root) as node:
            async with engram_client.connect(node.url) as store:
                table = await store.table("t")
                async with SteadyLoad(table, ROWS) as load:
                    await load.go_on(_FETCHES)
                    disk.fail()
                    failed = run("import", root, "t", tmp_path / "new.npy")
                    await load.go_on(_FETCHES)
                    disk.mend()
                    again = run("import", root, "t", tmp_path / "new.npy")
                    await load.go_on(_FETCHES)
                new = await store.table("t")

                assert (failed.status, again.status) == (1, 0)
                assert load.wrong == []
                assert np.array_equal(await new.fetch(ALL), NEW)
            assert node.stop() == 0


async def test_rows_that_cannot_be_read_are_refused_and_named_once_in_the_log_and_are_served_when_they_can(
    tmp_path: Path,
) -> None:
    with failing()(tmp_path) as disk:
        root = disk.place / "root"
        for name in ("sound", "doomed"):
            write_table(root, name, ROWS)
        with node_process(root) as node:
            async with engram_client.connect(node.url) as store:
                doomed, sound = await store.table("doomed"), await store.table("sound")
                async with SteadyLoad(sound, ROWS) as load:
                    disk.fail_for("read", _OF_DOOMED)
                    for _ in range(3):
                        with pytest.raises(TableDamaged, match="the node's log says why"):
                            await doomed.fetch(ALL)
                    await load.go_on(_FETCHES)
                    disk.mend()
                    assert np.array_equal(await doomed.fetch(ALL), ROWS)

                assert load.wrong == []
            assert node.stop() == 0
        said = [line for line in node.log.splitlines() if "rows cannot be read" in line]
        assert len(said) == 1
        assert "table='doomed'" in said[0]
        assert f"{root}/tables/doomed/" in said[0]
        assert "input/output error" in said[0]


async def test_a_disk_that_answers_nothing_any_more_takes_no_row_away_that_is_in_memory_and_is_complained_of_once(
    tmp_path: Path,
) -> None:
    with failing()(tmp_path) as disk:
        root = disk.place / "root"
        write_table(root, "t", ROWS)
        with node_process(root, "--in-memory", "t") as node:
            async with engram_client.connect(node.url) as store, SteadyLoad(await store.table("t"), ROWS) as load:
                disk.fail_for("read", "*")
                assert node.logged("could not look at the data root")
                for _ in range(3):  # each has the node look
                    await store.table("t")
                await load.go_on(_FETCHES)
                disk.mend()
                assert node.logged("the data root can be looked at again")

            assert load.wrong == []
            assert node.stop() == 0
        assert node.log.count("could not look at the data root") == 1


async def test_a_node_starts_without_the_table_that_cannot_be_loaded_and_loads_it_when_it_can(tmp_path: Path) -> None:
    with failing()(tmp_path) as disk:
        root = disk.place / "root"
        for name in ("sound", "doomed"):
            write_table(root, name, ROWS)
        disk.fail_for("read", _OF_DOOMED)
        with node_process(root, "--in-memory", "sound", "--in-memory", "doomed") as node:
            async with engram_client.connect(node.url) as store:
                assert np.array_equal(await (await store.table("sound")).fetch(ALL), ROWS)
                assert "doomed/versions/" in line_with(node, "version cannot be opened, not served")
                disk.mend()

                doomed = await store.table("doomed")
                assert doomed.info.backend == "memory"
                assert np.array_equal(await doomed.fetch(ALL), ROWS)
            assert node.stop() == 0


@pytest.mark.parametrize("kind", ["mmap", "lmdb", "safetensors"])
async def test_a_file_cut_short_under_load_is_refused_and_named_and_served_when_it_is_there_again(
    tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "root"
    write_table(root, "sound", ROWS)
    put_doomed(root, kind)
    file = DataRoot.open(root).stored_version("doomed", DataRoot.open(root).current_version("doomed")).data_path
    with node_process(root) as node:
        async with engram_client.connect(node.url) as store:
            doomed, sound = await store.table("doomed"), await store.table("sound")
            async with SteadyLoad(sound, ROWS) as load, SteadyLoad(doomed, ROWS, rows_a_fetch=200) as of_doomed:
                await of_doomed.go_on(_FETCHES)
                os.truncate(file, 5_000)
                await load.go_on(_FETCHES)
            assert node.logged("version cannot be opened, not served")
            with pytest.raises(TableDamaged):
                await doomed.fetch(ALL[-10:])
            put_doomed(root, kind)
            with suppress(EngramError):
                await doomed.refresh()

            assert np.array_equal(await (await store.table("doomed")).fetch(ALL), ROWS)
            assert load.wrong == []
            assert all(isinstance(wrong, TableDamaged) for wrong in of_doomed.wrong)
        assert node.stop() == 0
    assert str(file) in line_with(node, "version cannot be opened, not served")


def put_doomed(root: Path, kind: str) -> None:
    if kind == "safetensors":
        attach_rows(root, "doomed", ROWS)
    else:
        write_table(root, "doomed", ROWS, backend=kind)


def line_with(node: NodeProcess, text: str) -> str:
    assert node.logged(text), node.log
    return next(line for line in node.log.splitlines() if text in line)
