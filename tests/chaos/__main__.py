"""`python -m chaos [NAME ...]`: the scenarios at full length, one line of JSON each.

The exit status is 1 if a fetch failed or brought a wrong row, if there were more hedges than the budget allows, or if
the cluster's map was not what it had to be. How slow fetches may be depends on what else the machine
does, so that is told and not judged; the load average is told with it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from chaos.etcd_findings import EtcdFindings
from chaos.etcd_scenarios import ETCD_SCENARIOS, TIMES_LONGER, etcd_cluster, run_with_etcd
from chaos.findings import Findings
from chaos.flipped_bit import FlippedBitFindings, flip_a_bit
from chaos.scenarios import SCENARIOS, Extent, cluster_for_chaos, network_for_chaos, run_scenario
from chaos.slow_replica import HedgingFindings, compare_hedging
from support.etcd import PROGRAM as ETCD
from support.network_namespaces import namespaces_are_permitted

Found: TypeAlias = Findings | EtcdFindings | HedgingFindings | FlippedBitFindings
# With nodes and clients of their own.
_OTHERS: dict[str, Callable[[Path], HedgingFindings | FlippedBitFindings]] = {
    "hedging": compare_hedging,
    "flipped-bit": flip_a_bit,
}
_ALL = (*SCENARIOS, *ETCD_SCENARIOS, *_OTHERS)


def main() -> int:
    asked = _arguments()
    is_right = True
    for name in asked.names or _ALL:
        found = _run(name, asked.seconds)
        if isinstance(found, str):
            print(json.dumps({"scenario": name, "left_out": found}), flush=True)
            continue
        print(json.dumps({**found.as_json(), "load_average": round(os.getloadavg()[0], 1)}), flush=True)
        is_right &= found.is_right
    return 0 if is_right else 1


def _run(name: str, seconds: float) -> Found | str:
    """Return what was found, or why it was left out."""
    with tempfile.TemporaryDirectory(prefix="engram-store-chaos-") as directory:
        if name in SCENARIOS:
            return _scenario(name, Path(directory), seconds)
        if name in ETCD_SCENARIOS:
            return _with_etcd(name, Path(directory), seconds)
        return _OTHERS[name](Path(directory))


def _scenario(name: str, directory: Path, seconds: float) -> Found | str:
    scenario = SCENARIOS[name]
    if scenario.needs_namespaces and not namespaces_are_permitted():
        return "needs network namespaces, which take root"
    extent = Extent(calm=2 * seconds, disturbed=seconds, after=seconds)
    with (
        network_for_chaos(is_wired=scenario.is_wired) as network,
        cluster_for_chaos(directory, network) as cluster,
    ):
        return run_scenario(name, cluster, network, extent)


def _with_etcd(name: str, directory: Path, seconds: float) -> Found | str:
    if ETCD is None:
        return "needs etcd (Debian: apt-get install etcd-server)"
    with etcd_cluster(directory) as (cluster, root):
        return run_with_etcd(name, cluster, root, TIMES_LONGER.get(name, 1.0) * seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*_ALL, []], metavar="NAME", help="default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a disturbance lasts (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
