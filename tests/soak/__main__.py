"""`python -m soak`: a node of two workers for as long as you like, with versions swapped and a worker killed again.

Prints each bar with what was found; the exit status is 1 if one was missed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from soak.running import soak


def main() -> int:
    asked = _arguments()
    print(f"soaking for {asked.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="engram-store-soak-") as directory:
        findings = soak(
            Path(directory), seconds=asked.seconds, swap_seconds=asked.swap_seconds, kill_seconds=asked.kill_seconds
        )
    print(findings.table())
    return 0 if findings.is_right else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1200.0, help="(default: %(default)g)")
    parser.add_argument("--swap-seconds", type=float, default=3.0, help="between two versions (default: %(default)g)")
    parser.add_argument(
        "--kill-seconds",
        type=float,
        default=70.0,
        help="between two kills; five deaths of a worker, each within a minute, end the node (default: %(default)g)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
