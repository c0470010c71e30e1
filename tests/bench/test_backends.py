"""The benchmark's short form: it runs, checks its rows and compares all backends."""

import subprocess
import sys
from pathlib import Path


def test_the_backend_benchmark_checks_every_row_and_prints_a_ratio_for_each_backend():
    script = Path(__file__).with_name("backends.py")
    command = [sys.executable, str(script), "--rows", "20000", "--rounds", "2", "--fetches", "16"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 0, ended.stderr
    ratios = {line.split()[0]: float(line.split()[2]) for line in ended.stdout.splitlines()[2:]}
    assert ratios.keys() == {"memory", "mmap", "lmdb"}
    assert ratios["memory"] == 1
    assert all(ratio > 0 for ratio in ratios.values())
