"""Every way to the rows beside each other: the reference socket, this store, and the peers that are installed.

    PYTHONPATH=tests python -m bench.store_bench [--quick] [--subjects WORD ...] [--batches N ...] [--out DIRECTORY]

All of them serve the same random rows of 264 bytes and are asked the same uniform questions, over loopback, with the
same number of fetches in flight; rounds take turns and every row of every timed fetch is compared with the right one
(see round.py for what is timed). Writes bench.json and the figures; exits with 1 if a subject failed or was wrong.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import sys
import tempfile
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.store_bench.client_process import Case
from bench.store_bench.measure import Effort, Measurements, Subjects, measure
from bench.store_bench.placement import placements
from bench.store_bench.questions import ROW_BYTES, RowFile
from bench.store_bench.subjects.engramdb import EngramDB
from bench.store_bench.subjects.mooncake import Mooncake
from bench.store_bench.subjects.ours import EngramStore
from bench.store_bench.subjects.redis_mget import RedisMget
from bench.store_bench.subjects.reference_socket import ReferenceSocket
from bench.store_bench.summary import figures_of, print_table
from support.ctrl_c import ctrl_c_is_one_line

_BATCHES, _IN_FLIGHT = (1, 16, 256, 4096, 65_536), (1, 8)
_PACKAGES = ("engram-store", "grpcio", "numpy", "uvloop", "engramdb-python", "redis", "hiredis")
_PACKAGES += ("mooncake-transfer-engine-non-cuda",)


def all_subjects() -> Subjects:
    """By name; the reference first."""
    ours = [("grpc", backend) for backend in ("memory", "mmap", "lmdb")]
    ours += [("unix", backend) for backend in ("memory", "mmap", "lmdb")]
    ours += [("file", backend) for backend in ("mmap", "lmdb")]
    makers = [ReferenceSocket, *(partial(EngramStore, *one) for one in ours), EngramDB, RedisMget, Mooncake]
    return {make().name: make for make in makers}


def main() -> int:
    options = _options()
    subjects = _chosen(options.subjects)
    places = [placements()[name] for name in options.placements]
    cases = [Case(*one) for one in itertools.product(places, options.batches, options.in_flight)]
    effort = Effort(rounds=options.rounds, seconds=options.seconds, longest_round_seconds=options.longest_round)
    print(
        f"preparing {options.rows:,} rows of {ROW_BYTES} bytes and {len(subjects)} subjects that serve them", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
        file = RowFile.write(Path(directory), options.rows)
        found = measure(subjects, cases, file, Path(directory), effort)
    report = _report(found, options)
    print_table(report["figures"], report["left_out"])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    if not options.no_figures:
        from bench.store_bench.figures import draw

        draw(report["figures"], options.out)
    print(f"\nwritten to {options.out}")
    return 1 if report["failed"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="the same shape in under two minutes: fewer, shorter rounds"
    )
    parser.add_argument(
        "--subjects", nargs="+", metavar="WORD", help="only the reference and those with a WORD in their name"
    )
    parser.add_argument("--batches", nargs="+", type=int, default=_BATCHES, metavar="N", help="rows a fetch")
    parser.add_argument("--in-flight", nargs="+", type=int, default=_IN_FLIGHT, metavar="N", help="fetches at a time")
    parser.add_argument(
        "--placements",
        nargs="+",
        choices=("shared", "apart"),
        default=list(placements()),
        help="server and client on the same cores, or on one each",
    )
    parser.add_argument("--rows", type=int, help="rows of the table (default: 2,000,000; quick: 200,000)")
    parser.add_argument("--rounds", type=int, help="rounds of each (default: 7; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a round (default: 0.4; quick: 0.04)")
    parser.add_argument(
        "--longest-round", type=float, help="leave out what would take more seconds (default: 10; quick: 0.3)"
    )
    parser.add_argument("--directory", type=Path, help="where to put the tables")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="for the results (default: %(default)s)")
    parser.add_argument("--no-figures", action="store_true", help="write the JSON file only")
    options = parser.parse_args()
    defaults = (200_000, 3, 0.04, 0.3) if options.quick else (2_000_000, 7, 0.4, 10.0)
    for name, default in zip(("rows", "rounds", "seconds", "longest_round"), defaults, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, default)
    return options


def _chosen(words: list[str] | None) -> Subjects:
    subjects = all_subjects()
    reference = next(iter(subjects))
    if words is None:
        return subjects
    return {name: make for name, make in subjects.items() if name == reference or any(word in name for word in words)}


def _report(found: Measurements, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "table": {"rows": options.rows, "row_bytes": ROW_BYTES},
        "rounds": options.rounds,
        "round_seconds": options.seconds,
        "notes": found.notes,
        "not_here": found.not_here,
        "failed": found.failed,
        "left_out": [
            {
                "subject": name,
                "placement": case.placement.name,
                "ids_per_fetch": case.ids_per_fetch,
                "in_flight": case.in_flight,
                "why": why,
            }
            for case, of_case in found.left_out.items()
            for name, why in of_case.items()
        ],
        "figures": figures_of(found),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    with ctrl_c_is_one_line():
        sys.exit(main())
