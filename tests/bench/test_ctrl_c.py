"""The processes of a benchmark end at Ctrl-C without a word of their own."""

import signal

import numpy as np
import pytest
from bench.store_bench.client_process import ClientProcess, SubjectFailed
from bench.store_bench.questions import RowFile
from support.ctrl_c import node_without_ctrl_c
from support.fake_subjects import InterruptedWhileItStarts
from support.rows import random_rows
from support.tables import write_table

import engram_client


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
