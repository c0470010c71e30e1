"""What `engram-store plan` predicts for four nodes on this machine, beside what `engram-store load` measures of them.

    PYTHONPATH=tests python -m bench.plan [--rounds N] [--seconds N] [--out DIRECTORY]

As an operator would: `load` against one node, with fetches of as many rows as four nodes get of a larger one; `plan`
from those results; `load` against four nodes of two replicas. All of it takes turns, every row is checked, and a
prediction is held against the measurement of its own round. Writes plan.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.real_cluster import real_cluster
from support.rows import random_rows

NUM_NODES = 4
ROW_BYTES = 264
TABLE_ROWS = 500_000
ROWS_A_TOKEN = 16
SIZES = (4096, 16_384)
IN_FLIGHT = 8


def main() -> int:
    options = _options()
    ratios: dict[int, list[float]] = {size: [] for size in SIZES}
    with (
        tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory,
        _one_and_four(Path(directory)) as (one, four, root),
    ):
        for _ in range(options.rounds):
            for size in SIZES:
                ratios[size].append(_ratio(Path(directory), size, one, four, root, options.seconds))
    for size, found in ratios.items():
        print(
            f"{size:,} rows a fetch: predicted / measured {statistics.median(found):.2f}, "
            f"rounds {min(found):.2f} to {max(found):.2f}"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "plan.json").write_text(json.dumps({"predicted_to_measured": ratios}, indent=1) + "\n")
    return 0


@contextlib.contextmanager
def _one_and_four(directory: Path) -> Iterator[tuple[str, str, Path]]:
    """Run a node with the whole table and four with two replicas; yields their URLs and a data root to check with."""
    tables = {"t": random_rows(TABLE_ROWS, ROW_BYTES)}
    with (
        real_cluster(directory / "one", 1, tables, replicas=1) as one,
        real_cluster(directory / "four", NUM_NODES, tables, replicas=2) as four,
    ):
        yield one.url, four.url, one.root(0)


def _ratio(directory: Path, size: int, one: str, four: str, root: Path, seconds: float) -> float:
    """Return rows a second as predicted for four nodes, per row a second that they were measured to give."""
    files = []
    for rows in (size // NUM_NODES, size):
        files.append(directory / f"{rows}.json")
        files[-1].write_text(json.dumps(_load(one, rows, root, seconds)))
    measured = _load(four, size, root, seconds)["rows_per_second"]
    return float(_plan(size, files)["rows_per_second"]["fully_used"] / measured)


def _load(url: str, rows: int, root: Path, seconds: float) -> dict[str, Any]:
    check = ("--check", "root", "--root", str(root))
    times = ("--warm-up", "500ms", "--duration", f"{seconds:g}s")
    return _command("load", url, "--concurrency", str(IN_FLIGHT), "--rows", str(rows), *times, *check, "--json", "-")


def _plan(size: int, files: list[Path]) -> dict[str, Any]:
    model = ("--rows-a-token", str(ROWS_A_TOKEN), "--row-bytes", str(ROW_BYTES), "--table-bytes", "132MB")
    where = ("--nodes", str(NUM_NODES), "--nodes-a-machine", str(NUM_NODES), "--network", "100G")
    loads = [option for file in files for option in ("--from-load", str(file))]
    return _command("plan", *model, *where, *loads, "--call-tokens", str(size // ROWS_A_TOKEN), "--json")


def _command(*arguments: str) -> dict[str, Any]:
    """Run `engram-store` and return the JSON object that it prints."""
    command = [sys.executable, "-m", "store_server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise SystemExit(f"engram-store {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of each size (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put the tables")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="for the results (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
