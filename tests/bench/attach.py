"""Seconds from a checkpoint of full size that nothing knows of yet to its first row over the wire.

    python tests/bench/attach.py [--rounds N] [--directory DIR]

The checkpoint is sparse: 2 layers of 98 GB that take 3 MB of the disk. Each round attaches it to a data root of its
own in one process, serves that in another, fetches a row and checks it. Most of the time is two starts of Python.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import engram_client
from store_server.storage.checkpoint import SyntheticCheckpoint, synthetic_rows, write_checkpoint

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.processes import node_process

LAYER, HEAD_DIM = 1, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the checkpoint (default: %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put it: a file system that can hold sparse files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engram-store-bench-", dir=options.directory) as directory:
        checkpoint = Path(directory, "checkpoint")
        write_checkpoint(checkpoint, SyntheticCheckpoint(scale=options.scale), sparse=True)
        rounds = [one_round(Path(directory, f"root-{number}"), checkpoint) for number in range(options.rounds)]
    for name, seconds in zip(("attach", "serve", "first row", "all"), zip(*rounds, strict=True), strict=True):
        print(
            f"{name:<10} median {statistics.median(seconds):.2f} s, best {min(seconds):.2f}, worst {max(seconds):.2f}"
        )


def one_round(root: Path, checkpoint: Path) -> tuple[float, float, float, float]:
    """Seconds to attach, to serve, to fetch the first row, and of all three."""
    command = [sys.executable, "-m", "store_server", "attach", str(root), "v41", "--checkpoint", str(checkpoint)]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    attached = time.monotonic()
    with node_process(root) as node, engram_client.connect_blocking(node.url) as store:
        served = time.monotonic()
        row = store.table(f"v41/layer-{LAYER}").fetch([0])
        fetched = time.monotonic()
    if not np.array_equal(row, synthetic_rows(np.array([0]), LAYER, HEAD_DIM)):
        raise SystemExit("wrong row")
    return attached - began, served - attached, fetched - served, fetched - began


if __name__ == "__main__":
    main()
