"""Whatever happens to a cluster: somebody really holds each current shard, and there is rest once nothing happens."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.living_nodes import LivingNodes
from support.placements import a_node, a_version

from engram_store.shard_map import TableSet
from store_server.cluster.next_map.map_steps import first_map

EVENTS = ("join", "die", "come_back", "drain", "wait", "lose", "publish", "fetch", "step", "step")


def a_cluster(num_nodes, replicas):
    """A cluster whose first versions are current."""
    cluster = LivingNodes()
    for number in range(num_nodes):
        cluster.join(a_node(f"n{number}", zone="ab"[number % 2]))
    cluster.shard_map = first_map("c", replicas, cluster.registrations()).shard_map
    publish(cluster)
    cluster.settle(10)
    return cluster


def publish(cluster):
    """Name a next version of both tables, unless the last one is still pending."""
    known = cluster.shard_map
    each = known.sets.get("s", TableSet(name="s", current={}))
    if not each.pending:
        fresh = [a_version(5, table, f"v{known.epoch}") for table in "tu"]
        each = replace(each, pending={version.table: version.version for version in fresh})
        versions = {**known.versions, **{version.key: version for version in fresh}}
        cluster.shard_map = replace(known, epoch=known.epoch + 1, versions=versions, sets={"s": each})


def happen(cluster, event, data):
    """Let one thing happen to a node that is drawn."""
    names = {
        "die": cluster.live,
        "come_back": sorted(cluster.away),
        "drain": cluster.live,
        "fetch": cluster.live,
        "lose": cluster.live,
    }
    name = data.draw(st.sampled_from(names[event])) if names.get(event) else ""
    if event == "join":
        number = len(cluster.nodes)
        cluster.join(a_node(f"n{number}", zone="abc"[number % 3]))
    elif event == "wait":
        cluster.wait(data.draw(st.sampled_from([1.0, 29.0, 40.0, 700.0])))
    elif event == "publish":
        publish(cluster)
    elif event == "step":
        cluster.step()
    elif event == "lose" and name:
        lose_one(cluster, name)
    elif name:
        getattr(cluster, event)(name)


def lose_one(cluster, name):
    """Let a node lose the first shard that another has too: what nobody has any more cannot be asked of a map."""
    for version in cluster.shard_map.current_versions():
        for number in sorted(cluster.disks[name].get(version.key, ())):
            if set(cluster.really_hold(version.key, number)) - {name}:
                return cluster.lose(name, version.key, number)


@settings(max_examples=40)
@given(st.integers(1, 6), st.integers(1, 3), st.lists(st.sampled_from(EVENTS), max_size=25), st.data())
def test_every_current_shard_has_a_holder_that_has_it_and_the_map_comes_to_rest(num_nodes, replicas, events, data):
    cluster = a_cluster(max(num_nodes, replicas), replicas)

    for event in events:
        happen(cluster, event, data)
        assert cluster.all_current_are_held(), event

    cluster.wait(10_000.0)
    cluster.settle(20)

    draining = {node.id for node in cluster.shard_map.nodes if node.draining}
    stay = [name for name in cluster.live if name not in draining]
    for version in cluster.shard_map.versions.values():
        for number, shard in enumerate(version.shards):
            if stay:
                assert not shard.joining
                assert len(cluster.really_hold(version.key, number)) == min(replicas, len(stay))
    assert not stay or not cluster.shard_map.sets["s"].pending


def test_a_lost_node_is_restored_on_the_others_and_gone_from_the_map():
    cluster = a_cluster(4, 2)
    cluster.die("n1")
    cluster.settle(3)
    assert len(cluster.shard_map.nodes) == 4

    cluster.wait(31.0)
    cluster.settle(5)

    assert [node.id for node in cluster.shard_map.nodes] == ["n0", "n2", "n3"]
    assert all(len(s.holders) == 2 for v in cluster.shard_map.versions.values() for s in v.shards)


def test_nothing_moves_while_nobody_is_registered():
    cluster = a_cluster(4, 2)
    for name in list(cluster.live):
        cluster.die(name)
    cluster.wait(599.0)

    assert not cluster.step()
    cluster.come_back("n2")
    assert not cluster.step()


def test_fifty_publications_in_a_row_leave_two_versions_in_the_map():
    cluster = a_cluster(3, 2)
    for _ in range(50):
        publish(cluster)
        cluster.settle(5)
        cluster.wait(30.0)
    cluster.wait(30.0)
    cluster.settle(5)

    assert len(cluster.shard_map.versions) == 4  # of two tables, the current ones and those before
    assert not cluster.shard_map.sets["s"].pending
