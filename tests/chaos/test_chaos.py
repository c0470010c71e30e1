"""The short form of each scenario: one after another befalls the same cluster, under the same load."""

import statistics

import pytest
from chaos.fetches import RIGHT
from chaos.scenarios import (
    DELAY_SECONDS,
    SCENARIOS,
    Extent,
    Scene,
    cluster_for_chaos,
    load_on,
    network_for_chaos,
)
from support.network_namespaces import namespaces_are_permitted

SHORT = Extent(warm_up=0.5, disturbed=0.5, after=0.4, nodes_killed=1)
TIME_LIMIT_SECONDS = 10.0  # of a fetch: one that is kept waiting fails
# So that even the shortest disturbance comes upon many, and a machine that has much else to do keeps up.
LOAD = {"fetches_a_second": 60.0, "rows_a_fetch": 100}
# Each step of "kill-each" is one of "kill", and starts a node, which takes seconds.
IN_SHORT = [name for name in SCENARIOS if name not in ("kill-each", "delay")]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with (
        network_for_chaos(is_wired=True) as network,
        cluster_for_chaos(tmp_path_factory.mktemp("chaos"), network) as cluster,
        load_on(cluster, network, time_limit_seconds=TIME_LIMIT_SECONDS, **LOAD) as running,
    ):
        running.go_on(SHORT.warm_up)
        yield Scene(cluster, network, running, SHORT)


@pytest.mark.parametrize("name", IN_SHORT)
def test_whatever_befalls_one_node_no_fetch_fails_and_no_row_is_wrong(name, scene):
    if SCENARIOS[name].needs_namespaces and not namespaces_are_permitted():
        pytest.skip("needs network namespaces, which take root")
    before = len(scene.load.fetches)

    SCENARIOS[name].happens(scene)

    fetches = scene.load.fetches[before:]
    assert len(fetches) >= 30
    assert {fetch.outcome for fetch in fetches} == {RIGHT}


def test_most_fetches_do_not_wait_for_a_node_that_is_far_away_and_none_fails(scene):
    before = len(scene.load.fetches)

    SCENARIOS["delay"].happens(scene)

    fetches = scene.load.fetches[before:]
    far, near = (moment.when for moment in scene.moments[-2:])
    meanwhile = [fetch.seconds for fetch in fetches if far <= fetch.due < near]
    assert {fetch.outcome for fetch in fetches} == {RIGHT}
    assert statistics.median(meanwhile) < DELAY_SECONDS
