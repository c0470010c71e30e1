"""The hashing benchmark's short form: it runs, checks its rows and comes near its bare remainders."""

import subprocess
import sys
from pathlib import Path


def test_hashing_checks_its_rows_and_takes_no_multiple_of_its_bare_remainders():
    script = Path(__file__).with_name("hashing.py")
    command = [sys.executable, str(script), "--rounds", "301"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 0, ended.stderr
    ratios = {line[:16].strip(): float(line.split()[-1]) for line in ended.stdout.splitlines()[2:]}
    assert ratios.keys() == {"remainders", "hashing", "finding repeats"}
    # The fastest rounds; the claim is 1.5, for the medians on a core of one's own. Tests share theirs, which slows the
    # two unequally: 1.03 to 1.17 on a calm machine was once 1.87 beside three other processes.
    assert ratios["hashing"] < 3
