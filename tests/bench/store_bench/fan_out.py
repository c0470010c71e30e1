"""What it costs to fetch from several nodes what one node could hold, on the same cores.

    PYTHONPATH=tests python -m bench.store_bench.fan_out [--rounds N] [--out DIRECTORY]

One node with the whole table beside two and four nodes with a shard each; rounds take turns, every row is checked.
Writes fan_out.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from bench.store_bench.client_process import Case
from bench.store_bench.measure import Effort, measure
from bench.store_bench.placement import placements
from bench.store_bench.questions import RowFile
from bench.store_bench.subjects.cluster import Cluster
from bench.store_bench.subjects.ours import EngramStore
from bench.store_bench.summary import figures_of, print_table

_ROWS = 500_000


def main() -> int:
    options = _options()
    makers = [partial(EngramStore, "grpc", "memory"), partial(Cluster, 2), partial(Cluster, 4)]
    subjects = {make().name: make for make in makers}
    cases = [
        Case(placements()["shared"], ids_per_fetch=size, in_flight=in_flight)
        for size, in_flight in ((16, 1), (4096, 8), (65_536, 1), (65_536, 8))
    ]
    effort = Effort(rounds=options.rounds, seconds=options.seconds, longest_round_seconds=10.0)
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
        file = RowFile.write(Path(directory), _ROWS)
        found = measure(subjects, cases, file, Path(directory), effort)
    whole = next(iter(subjects))
    figures = figures_of(found, reference=whole)
    print_table(figures, reference=whole)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fan_out.json").write_text(json.dumps(figures, indent=1) + "\n")
    for name, reason in found.failed.items():
        print(f"FAILED: {name}: {reason}")
    return 1 if found.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a round (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put the tables")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="for the results (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
