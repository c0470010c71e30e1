from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import engram_client
from store_server.config import ServerConfig
from store_server.node import running
from store_server.storage import DataRoot


def test_an_old_version_is_dropped_and_the_current_one_is_not(run: Callable, root: Path, tmp_path: Path) -> None:
    versions = []
    for content in (b"old", b"new"):
        (tmp_path / "rows").write_bytes(content)
        run("import", root, "t", tmp_path / "rows", "--row-bytes", 3)
        versions.append(DataRoot.open(root).current_version("t"))

    refused = run("drop", root, "t", versions[1])
    dropped = run("drop", root, "t", versions[0])

    assert "is the current one" in refused.error
    assert (dropped.status, dropped.out) == (0, f"dropped t {versions[0]}\n")
    assert DataRoot.open(root).versions("t") == [versions[1]]


def test_a_whole_table_is_dropped_only_if_all_of_it_is_asked_for(run: Callable, root: Path) -> None:
    run("create", root, "a", "--rows", 1, "--row-bytes", 8)
    run("create", root, "b", "--rows", 1, "--row-bytes", 8)
    version = DataRoot.open(root).current_version("a")

    unclear = [run("drop", root, "a"), run("drop", root, "a", version, "--all")]
    assert DataRoot.open(root).table_names() == ["a", "b"]
    dropped = run("drop", root, "a", "--all")
    again = run("drop", root, "a", "--all")

    assert [refused.status for refused in unclear] == [2, 2]
    assert all("name a VERSION of a, or give --all" in refused.error for refused in unclear)
    assert (dropped.status, dropped.out) == (0, "dropped a with all its versions\n")
    assert DataRoot.open(root).table_names() == ["b"]
    assert (again.status, again.error) == (1, f"error: no table 'a' in {root}; `engram-store tables` lists what is")


async def test_a_node_no_longer_finds_a_table_that_was_dropped(run: Callable, root: Path) -> None:
    for name in ("a", "b"):
        run("create", root, name, "--rows", 10, "--row-bytes", 8)
    async with (
        running(ServerConfig(root=root, listen="127.0.0.1:0", reload_seconds=0.01)) as node,
        engram_client.connect(f"grpc://{node.address}") as store,
    ):
        table = await store.table("a")
        assert (await table.fetch([1])).shape == (1, 8)

        await asyncio.to_thread(run, "drop", root, "a", "--all")

        with pytest.raises(engram_client.TableNotFound):
            await store.table("a")
        with pytest.raises(engram_client.TableNotFound):
            await table.fetch([1])
        assert (await (await store.table("b")).fetch([1])).shape == (1, 8)
