"""The benchmark of what production costs runs and checks every row; its figures are for a quiet machine."""

import subprocess
import sys

from support.environment import with_tests


def test_each_node_is_measured_beside_another():
    command = [sys.executable, "-m", "bench.production", "--rounds", "1", "--quick"]
    environment = {**with_tests(), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)

    assert "wrong rows" not in ended.stderr
    lines = [line for line in ended.stdout.splitlines() if "M rows/s" in line]
    assert len(lines) == 20, ended.stderr + ended.stdout
    assert sum("at least" in line for line in lines) == 8
