"""The cold rows benchmark's short form: it runs, checks its rows and prints its two ratios."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_reading_ahead_is_quicker_than_faulting_and_both_ratios_are_printed():
    script = Path(__file__).with_name("cold_rows.py")
    command = [sys.executable, str(script), "--gib", "0.25", "--rounds", "3", "--seconds", "0.3"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    if "choose a --directory on a disk" in ended.stderr:
        pytest.skip("the temporary directory is not on a disk")
    assert ended.returncode == 0, ended.stderr
    ratios = {line[:11].strip(): float(line.split()[2]) for line in ended.stdout.splitlines() if " ratio " in line}
    assert ratios.keys() == {"time ratio", "p99 ratio"}
    # The limits are 0.2 and 2, on a disk and cores of one's own; tests share theirs.
    assert ratios["time ratio"] < 0.7
    assert ratios["p99 ratio"] > 0
