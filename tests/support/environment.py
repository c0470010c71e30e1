"""The environment of a Python process that imports what tests share."""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]


def with_tests() -> dict[str, str]:
    """Return this process's environment, in which Python finds `support`, `bench` and their like."""
    return {**os.environ, "PYTHONPATH": str(TESTS)}
