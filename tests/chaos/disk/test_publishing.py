"""A cluster in which the disk of one node takes nothing: what is published, what is served, who is named."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.disk.commands import run
from chaos.disk.disks import DISKS, Disk, failing
from support.etcd import needs_etcd
from support.published_cluster import PublishedCluster, published_cluster
from support.set_of_versions import SECONDS, number_read, opened, write_versions

import engram_client

pytestmark = [needs_etcd, pytest.mark.timeout(300)]
_LONG = [pytest.mark.long]
# A disk of which a node has a file open, as it does, cannot be mounted anew.
_DISKS = {**DISKS, "read-only": failing("write", number=errno.EROFS)}


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "c").mkdir()
    with _DISKS[request.param](tmp_path) as disk:
        yield disk


@contextlib.contextmanager
def cluster_of(num_nodes: int, disk: Disk, tmp_path: Path) -> Iterator[PublishedCluster]:
    """Nodes of which the first has its root on that disk, and none says how much it can hold."""
    (disk.place / "n0").mkdir()
    (tmp_path / "c" / "n0").symlink_to(disk.place / "n0")
    with published_cluster(tmp_path / "c", num_nodes) as cluster:
        yield cluster


def publish(cluster: PublishedCluster, source: Path, number: int, *options: object) -> object:
    versions = write_versions(source, "a", number)
    return run("publish", source, *versions, "--cluster", cluster.url, "--set", "a", *options)


def served(cluster: PublishedCluster) -> int:
    """Read every row of the set; returns the version that all of them are of."""

    async def read() -> int:
        async with engram_client.connect(cluster.grpc_url, timeout=SECONDS) as store:
            return await number_read(await opened(store, "a"))

    return asyncio.run(read())


@pytest.mark.long  # half a minute passes before a node tries its disk again
@pytest.mark.parametrize("disk", _DISKS, indirect=True)
def test_a_publish_that_needs_a_node_whose_disk_takes_nothing_names_both_and_succeeds_once_it_is_mended(
    disk: Disk, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    with cluster_of(2, disk, tmp_path) as cluster:
        assert publish(cluster, source, 1, "--replicas", 2).status == 0
        disk.fail()
        failed = publish(cluster, source, 2, "--timeout", 15)
        during = served(cluster)
        too_soon = publish(cluster, source, 2, "--timeout", 5)
        disk.mend()
        cluster.until(lambda: not cluster.disk_failures)  # the node tries its disk again by itself
        again = publish(cluster, source, 2, "--timeout", 120)

        assert (failed.status, too_soon.status, during) == (1, 1, 1)
        for each in (failed, too_soon):
            assert "node n0 takes no more rows: " in each.error
            assert str(tmp_path / "c" / "n0") in each.error
        assert (again.status, served(cluster)) == (0, 2), again.err


@pytest.mark.parametrize(
    "disk",
    ["read-only", *(pytest.param(name, marks=_LONG) for name in DISKS if name != "read-only")],
    indirect=True,
)
def test_a_publish_goes_to_the_other_nodes_where_one_has_a_disk_that_takes_nothing(disk: Disk, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with cluster_of(3, disk, tmp_path) as cluster:
        assert publish(cluster, source, 1, "--replicas", 2).status == 0
        disk.fail()
        published = publish(cluster, source, 2, "--timeout", 120)

        assert (published.status, served(cluster)) == (0, 2), published.err
        disk.mend()
        assert publish(cluster, source, 3, "--timeout", 120).status == 0
        assert served(cluster) == 3
