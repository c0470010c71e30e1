"""Nodes and etcd under load, in short: etcd dies, all nodes start without it, a node is lost for good."""

import pytest
from chaos.etcd_scenarios import ETCD_SCENARIOS, etcd_cluster, run_with_etcd
from support.etcd import needs_etcd

pytestmark = needs_etcd
# So that a machine that has much else to do keeps up.
LOAD = {"fetches_a_second": 30.0, "rows_a_fetch": 100}
IN_SHORT = "etcd-killed"


@pytest.mark.parametrize(
    "name", [name if name == IN_SHORT else pytest.param(name, marks=pytest.mark.long) for name in ETCD_SCENARIOS]
)
def test_no_fetch_fails_no_range_moves_without_need_and_every_row_is_twice_in_the_end(name, tmp_path):
    with etcd_cluster(tmp_path) as (cluster, root):
        found = run_with_etcd(name, cluster, root, seconds=0.5, warm_up_seconds=0.5, **LOAD)

    assert found.is_right, found.as_json()
    assert all(phase.fetches > 10 for phase in found.phases if phase.since in ("calm", "SIGKILL of etcd"))
