"""`python -m check [NAME]...` (with deploy/ on PYTHONPATH): every check, or some; a line for each problem."""

from __future__ import annotations

import sys
from pathlib import Path

from check import CHECKS


def main(names: list[str]) -> int:
    """Run checks; returns the exit status."""
    if unknown := set(names) - CHECKS.keys():
        sys.stderr.write(f"error: no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}\n")
        return 2
    deploy = Path(__file__).parents[1]
    found = [f"{name}: {problem}" for name in names or CHECKS for problem in CHECKS[name](deploy)]
    for problem in found:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"deploy-check: {len(names or CHECKS)} checks, {len(found)} problems\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
