"""`python -m chaos [NAME ...]`: the scenarios at full length, one line of JSON each.

The exit status is 1 if a fetch failed or brought a wrong row. How slow fetches may be depends on what else the machine
does, so that is told and not judged; the load average is told with it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from chaos.flipped_bit import FlippedBitFindings, flip_a_bit
from chaos.scenarios import SCENARIOS, Extent, cluster_for_chaos, network_for_chaos, run_scenario
from chaos.slow_replica import HedgingFindings, compare_hedging
from support.network_namespaces import namespaces_are_permitted

# With nodes and clients of their own.
_OTHERS: dict[str, Callable[[Path], HedgingFindings | FlippedBitFindings]] = {
    "hedging": compare_hedging,
    "flipped-bit": flip_a_bit,
}


def main() -> int:
    asked = _arguments()
    is_right = True
    for name in asked.names or [*SCENARIOS, *_OTHERS]:
        found = _other(name) if name in _OTHERS else _scenario(name, asked.seconds)
        if found is None:
            print(json.dumps({"scenario": name, "left_out": "needs network namespaces, which take root"}), flush=True)
            continue
        line, is_one_right = found
        print(json.dumps({**line, "load_average": round(os.getloadavg()[0], 1)}), flush=True)
        is_right &= is_one_right
    return 0 if is_right else 1


def _scenario(name: str, seconds: float) -> tuple[dict[str, object], bool] | None:
    scenario = SCENARIOS[name]
    if scenario.needs_namespaces and not namespaces_are_permitted():
        return None
    extent = Extent(calm=2 * seconds, disturbed=seconds, after=seconds)
    with (
        tempfile.TemporaryDirectory(prefix="engram-store-chaos-") as directory,
        network_for_chaos(is_wired=scenario.is_wired) as network,
        cluster_for_chaos(Path(directory), network) as cluster,
    ):
        found = run_scenario(name, cluster, network, extent)
    return found.as_json(), found.is_right


def _other(name: str) -> tuple[dict[str, object], bool]:
    with tempfile.TemporaryDirectory(prefix="engram-store-chaos-") as directory:
        found = _OTHERS[name](Path(directory))
    return found.as_json(), found.is_right


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*SCENARIOS, *_OTHERS, []], metavar="NAME", help="default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a disturbance lasts (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
