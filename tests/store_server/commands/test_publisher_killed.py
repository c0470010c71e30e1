"""A publisher is killed at points spread over all of its work: what was current stays so until it has switched."""

import asyncio
import signal
import socket

import pytest
from support.etcd import needs_etcd
from support.network import free_ports
from support.set_of_versions import NUM_ROWS, NUM_TABLES, SECONDS, reads, write_versions

pytestmark = needs_etcd
NUM_COPIES = 2 * NUM_TABLES * NUM_ROWS  # of blocks, on all nodes
BEFORE_ITS_SWITCH = ("serves", "pending", "joining", "complete")
POINTS = (*BEFORE_ITS_SWITCH, *range(1, NUM_COPIES + 1), "current")
SHORT = ("complete",)


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

    def is_given_up(self):
        """Tell whether nothing is pending any more; nodes drop it when they have not seen the publisher for a while."""
        self.cluster.end_leases_of_publishers()
        return not self.in_map.pending

    def begin(self, point):
        """Start a publisher, and have it stand still when it has come to a point."""
        (port,) = free_ports(1)
        options = ("--serve-on", f"127.0.0.1:{port}")
        if point == "complete":  # it would switch at once: it stands still before, and nodes fetch from elsewhere
            options = ("--source", self.root.as_uri())
        process = self.cluster.begin_publish(self.root, *self.versions, "--set", self.name, *options)
        self.wait_for("pending" if point == "complete" else point, port)
        process.send_signal(signal.SIGSTOP)
        if point == "complete":
            self.cluster.map_when(lambda found: found.sets[self.name].pending_complete)
        return process

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
def test_a_killed_publisher_leaves_current_what_was_so_and_the_next_one_works(published, run, root, points):
    each = Published(published, run, root)
    each.next_version()
    each.publish()

    for point in points:
        before = each.versions
        each.next_version()
        process = each.begin(point)
        has_switched = each.in_map.current == each.versions
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=SECONDS)
        published.until(each.is_given_up)

        assert each.in_map.current == (each.versions if has_switched else before), point
        assert not (has_switched and point in BEFORE_ITS_SWITCH), point
        assert each.reads(each.number if has_switched else each.number - 1)
        each.publish()
        assert each.in_map.current == each.versions
        assert each.reads(each.number)


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_publisher_that_stood_still_for_too_long_says_that_its_versions_were_given_up(published, run, root):
    each = Published(published, run, root)
    each.next_version()
    each.publish()
    before = each.versions
    each.next_version()

    process = each.begin("complete")
    published.until(each.is_given_up)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=SECONDS)

    assert process.returncode == 1
    assert "were given up, and nothing has become current" in out
    assert each.in_map.current == before
