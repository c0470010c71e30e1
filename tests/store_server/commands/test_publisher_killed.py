"""A publisher is killed at points spread over all of its work: versions switch wholly or not at all."""

import asyncio
import signal
import socket

import pytest
from support.etcd import needs_etcd
from support.network import free_ports
from support.set_of_versions import NUM_ROWS, NUM_TABLES, SECONDS, reads, write_versions

pytestmark = needs_etcd
NUM_COPIES = 2 * NUM_TABLES * NUM_ROWS  # of blocks, on all nodes
EARLY = ("serves", "pending")
"""Long before all can be copied."""
POINTS = (*EARLY, "joining", *range(1, NUM_COPIES + 1), "current")
SHORT = ("serves", 3)


class Published:
    """A set in the cluster, whose newest version is `number`."""

    def __init__(self, cluster, run, root):
        self.cluster, self.root = cluster, root
        self._run = run
        self.name, self.number = "killed", 0
        self.versions = {}

    def next_version(self):
        self.number += 1
        self.versions = write_versions(self.root, self.name, self.number)

    def publish(self):
        done = self._run("publish", self.root, *self.versions, "--cluster", self.cluster.url, "--set", self.name)
        assert done.status == 0, done.err

    def reads(self, *numbers):
        return asyncio.run(reads(self.cluster.grpc_url, self.name, *numbers))

    @property
    def in_map(self):
        return self.cluster.map_when(lambda _: True).sets[self.name]

    def wait_for(self, point, port):
        """Wait until a publisher that listens on `port` has come to a point."""
        if point == "serves":
            self.cluster.until(lambda: _listens(port))
        elif point == "current":
            self.cluster.map_when(lambda found: found.sets[self.name].current == self.versions)
        elif isinstance(point, int):
            self.cluster.until(lambda: self.cluster.blocks_held(self.versions) >= point)
        else:
            self.cluster.map_when(lambda found: self._is_pending(found, wanted=point == "joining"))

    def _is_pending(self, found, *, wanted):
        """Tell whether the versions are pending and, if that is asked, nodes are wanted for each of their shards."""
        if found.sets[self.name].pending != self.versions:
            return found.sets[self.name].current == self.versions
        versions = [found.versions[item] for item in self.versions.items()]
        return all(shard.joining or shard.holders for each in versions for shard in each.shards) or not wanted


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    "points", [pytest.param(SHORT, id="short"), pytest.param(POINTS, id="long", marks=pytest.mark.long)]
)
@pytest.mark.timeout(1200)
def test_a_killed_publisher_leaves_old_versions_or_new_ones_and_the_next_one_works(published, run, root, points):
    each = Published(published, run, root)
    each.next_version()
    each.publish()

    for point in points:
        before = each.versions
        each.next_version()
        (port,) = free_ports(1)
        process = published.begin_publish(root, *each.versions, "--set", each.name, "--serve-on", f"127.0.0.1:{port}")
        each.wait_for(point, port)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=SECONDS)

        possible = {each.number - 1: before} | ({} if point in EARLY else {each.number: each.versions})
        assert each.in_map.current in possible.values(), point
        assert each.reads(*possible), point
        each.publish()
        assert each.in_map.current == each.versions
        assert each.reads(each.number)
