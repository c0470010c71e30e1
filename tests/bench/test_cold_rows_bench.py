"""The cold rows benchmark's short form: it runs, checks its rows and prints its ratios."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_reading_ahead_is_quicker_than_faulting_and_all_ratios_are_printed():
    script = Path(__file__).with_name("cold_rows.py")
    size = ["--gib", "0.25", "--rounds", "3", "--warm-rounds", "1", "--seconds", "0.3"]

    ended = subprocess.run(
        [sys.executable, str(script), *size], capture_output=True, text=True, timeout=100, check=False
    )

    if "choose a --directory on a disk" in ended.stderr:
        pytest.skip("the temporary directory is not on a disk")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    # The limits are 0.2, and 2 for the p99; tests share their disk and cores with others.
    assert next(float(line.split()[2]) for line in lines if line.startswith("time ratio")) < 0.7
    ratios = {
        line[:21].strip(): float(line.split("p99 ratio")[1].split(",")[0]) for line in lines if "p99 ratio" in line
    }
    assert ratios.keys() == {"alone", "beside cold fetches", "beside another reader"}
    assert all(ratio > 0 for ratio in ratios.values())
