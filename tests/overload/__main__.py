"""`python -m overload [--seconds N]`: a node that is asked more than it can give, and what its clients see of it.

Prints each figure beside what it has to be; the exit status is 1 if one is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from overload.scenarios import greedy, overload


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload, in each scenario")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="engram-store-overload-") as name:
        directory = Path(name)
        bars = [
            *overload(directory, seconds, clients=1),
            *overload(directory, seconds, clients=16),
            *overload(directory, seconds, clients=16, backs_off=True),
            *greedy(directory, seconds / 4, from_disk=True),
            *greedy(directory, seconds / 4, from_disk=False),
        ]
    print("\n".join(bar.line() for bar in bars))
    return 0 if all(bar.is_met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
