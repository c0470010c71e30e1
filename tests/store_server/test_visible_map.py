"""What of a shard map a caller is shown."""

import dataclasses

from support.shard_maps import later, shard_map_of

from engram_store.shard_map import TableSet, VersionKey, to_message
from store_server.access.caller import Scope
from store_server.access.credentials import Entry
from store_server.access.identity import Identity
from store_server.access.rights import Rights
from store_server.services.visible_map import visible_to


def caller(scope: Scope, *tables: str) -> Identity:
    return Identity(Entry(name="a", rights=Rights((scope,), tables)))


def map_of_three():
    """`layer-1` and `open/2` in one set, `closed/3` in one of its own."""
    found = shard_map_of()
    (version,) = found.versions.values()
    others = {VersionKey(name, "v1"): dataclasses.replace(version, table=name) for name in ("open/2", "closed/3")}
    sets = {
        "model": TableSet(name="model", current={"layer-1": "v1", "open/2": "v1"}, previous={"layer-1": "v1"}),
        "other": TableSet(name="other", current={"closed/3": "v1"}),
    }
    return to_message(later(found, versions=found.versions | others, sets=sets))


def test_a_reader_is_shown_the_tables_that_it_may_read_and_nothing_that_names_others():
    whole = map_of_three()

    shown = visible_to(caller(Scope.READ, "open/*"), whole)

    assert [version.table for version in shown.versions] == ["open/2"]
    assert [(each.name, dict(each.current), dict(each.previous)) for each in shown.sets] == [
        ("model", {"open/2": "v1"}, {})
    ]
    assert (shown.epoch, shown.cluster, list(shown.nodes)) == (whole.epoch, whole.cluster, list(whole.nodes))
    assert b"closed" not in shown.SerializeToString()
    assert len(whole.versions) == 3


def test_who_may_read_all_and_who_replicates_are_shown_the_map_as_it_is():
    whole = map_of_three()

    assert visible_to(caller(Scope.READ, "*"), whole) == whole
    assert visible_to(caller(Scope.REPLICATE, "other"), whole) == whole


def test_who_may_read_nothing_of_it_is_shown_the_nodes():
    shown = visible_to(caller(Scope.READ, "elsewhere/*"), map_of_three())

    assert (list(shown.versions), list(shown.sets), len(shown.nodes)) == ([], [], 1)
