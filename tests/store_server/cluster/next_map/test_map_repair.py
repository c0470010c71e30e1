"""What is put back into a source that has lost maps."""

import pytest
from support.shard_maps import later, shard_map_of

from engram_store.shard_map import Node
from store_server.cluster.next_map.map_repair import repair

FIRST = shard_map_of()
SECOND = later(FIRST)
OTHER_SECOND = later(FIRST, replicas=1, nodes=(Node(id="b", address="h:2"),))
BEGUN_ANEW = later(FIRST, sets={}, versions={})


@pytest.mark.parametrize(
    ("found", "known", "expected"),
    [
        (None, None, None),
        (FIRST, None, None),
        (FIRST, FIRST, None),
        (SECOND, FIRST, None),
        (None, SECOND, SECOND),
        (FIRST, SECOND, SECOND),
        (OTHER_SECOND, SECOND, later(OTHER_SECOND)),
        (BEGUN_ANEW, SECOND, later(SECOND)),
        (SECOND, BEGUN_ANEW, later(SECOND)),
    ],
)
def test_the_newest_map_comes_back_and_of_two_of_one_epoch_the_agreed_one_counts(found, known, expected):
    assert repair(found, known) == expected
