"""What was read lately, in the processes of one node."""

from engram_store.shard_map import VersionKey
from store_server.cluster.recent_reads import RecentReads

ONE, TWO = VersionKey("a/1", "v1"), VersionKey("a/1", "v2")
SECONDS = 60.0


class Process:
    """A process of the node, which clients ask for what the test says."""

    def __init__(self, root):
        self.asked_for, self.seconds = set(), 0.0
        self.reads = RecentReads(root, self._taken, SECONDS, now=lambda: self.seconds)

    def _taken(self):
        asked_for, self.asked_for = self.asked_for, set()
        return asked_for

    def at(self, seconds, held=(ONE, TWO)):
        self.seconds = seconds
        return self.reads.read_of(held)


def test_a_version_is_read_for_a_time_after_each_lookup(tmp_path):
    process = Process(tmp_path)
    process.at(0)
    process.asked_for = {ONE}

    assert process.at(30) == {ONE, TWO}  # what was before this process began, nobody knows
    assert process.at(59.9) == {ONE, TWO}
    assert process.at(60) == {ONE}
    assert process.at(89.9) == {ONE}
    assert process.at(90) == set()


def test_what_other_processes_were_asked_for_counts_once_each_time(tmp_path):
    speaker, other = Process(tmp_path), Process(tmp_path)
    speaker.at(0)
    other.asked_for = {TWO}
    other.reads.tell()

    assert speaker.at(50) == {ONE, TWO}
    assert speaker.at(60) == {TWO}
    other.reads.tell()  # of nothing
    assert speaker.at(110) == set()


def test_a_version_that_is_held_no_more_is_forgotten(tmp_path):
    speaker, other = Process(tmp_path), Process(tmp_path)
    other.asked_for = {ONE, TWO}
    other.reads.tell()
    speaker.at(0)

    assert speaker.at(1, held=[TWO]) == {TWO}
    assert len(list((tmp_path / "cluster" / "read").iterdir())) == 1
    assert speaker.at(100, held=[ONE, TWO]) == {ONE}
