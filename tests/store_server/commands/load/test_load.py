"""The command as a whole, against a real node."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from engram_client.hashing import HashSpec, NgramHasher
from store_server.storage.fills import index_rows

NUM_ROWS, ROW_BYTES = 5000, 32
BRIEFLY = ("--warm-up", "50ms", "--duration", "300ms", "--rows", "64", "--json", "-")
COMMAND = (sys.executable, "-m", "store_server", "load", "--warm-up", "0s", "--rate", "100/s")
TIME_LIMIT_SECONDS = 60.0
UP_A_LINE = b"\x1b[1A"  # to write over what was shown before


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("load") / "root"
    rows = index_rows(np.arange(NUM_ROWS), ROW_BYTES)
    damaged = rows.copy()
    damaged[NUM_ROWS // 2 :, 5] ^= 1
    write_table(root, "index", rows)
    write_table(root, "random", random_rows(NUM_ROWS, ROW_BYTES))
    write_table(root, "damaged", damaged)
    return root


@pytest.fixture(scope="module")
def node(root):
    with node_process(root) as node:
        yield node


@pytest.fixture
def load(node, run):
    return lambda *options: run("load", node.url, *options)


def result_of(outcome):
    assert outcome.status == 0, outcome.err
    return json.loads(outcome.out)


def test_an_open_loop_says_how_many_were_due_how_late_they_were_and_that_all_rows_were_right(load):
    result = result_of(load("--table", "index", "--rate", "200/s", "--arrivals", "constant", *BRIEFLY))

    assert result["load"]["loop"] == "open"
    assert result["fetches"]["due"] == result["fetches"]["completed"] == result["latency_ms"]["count"]
    assert result["fetches"]["due"] == pytest.approx(60, abs=1)
    assert result["check"]["how"] == "index"
    assert result["check"]["rows_checked"] == pytest.approx(70 * 64, abs=2 * 64)
    assert result["check"]["rows_wrong"] == 0
    times = result["latency_ms"]
    assert 0 < times["min"] <= times["p50"] <= times["p99"] <= times["max"]


def test_processes_share_a_closed_loop_and_their_counts_add_up(load):
    result = result_of(load("--table", "index", "--concurrency", 3, "--processes", 2, "--zipf", 1.1, *BRIEFLY))

    assert result["load"]["loop"] == "closed"
    assert result["fetches"]["completed"] == result["latency_ms"]["count"] > 0
    assert result["check"]["rows_checked"] >= 64 * result["fetches"]["completed"]


def test_wrong_rows_make_the_status_one_and_are_named(load):
    outcome = load("--table", "damaged", "--check", "index", "--rate", "100/s", *BRIEFLY)

    check = json.loads(outcome.out)["check"]
    assert outcome.status == 1
    assert 0 < check["rows_wrong"] < check["rows_checked"]
    assert check["first_wrong_row"] >= NUM_ROWS // 2
    assert f"WRONG ROWS: {check['rows_wrong']:,} of {check['rows_checked']:,}" in outcome.error


def test_a_table_that_follows_the_formula_in_parts_is_refused(load):
    refused = load("--table", "damaged", *BRIEFLY)

    assert (refused.status, refused.out) == (1, "")
    assert "WRONG ROWS, or rows of another origin" in refused.error


@pytest.mark.parametrize(
    ("options", "how", "compares_all"),
    [((), "repeats", False), (("--root", "ROOT"), "root", True), (("--check", "none"), "none", False)],
)
def test_other_tables_are_checked_with_a_copy_or_else_the_result_says_how_far(load, root, options, how, compares_all):
    given = [root if option == "ROOT" else option for option in options]

    result = result_of(load("--table", "random", "--rate", "100/s", *given, *BRIEFLY))

    check = result["check"]
    assert (check["how"], check["rows_wrong"]) == (how, 0)
    assert (check["rows_checked"] >= 64 * result["fetches"]["completed"]) == compares_all
    assert (check["said"] == "NOT CHECKED") == (check["rows_checked"] == 0) == (how == "none")


def test_a_text_is_replayed_through_the_real_tokenizer_and_the_hash_of_its_table(run, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("Only Alexander the Great could tame the horse Bucephalus. " * 5)
    spec = HashSpec(layer_ids=(1, 14), max_ngram=4, heads=8, vocab_sizes=(100, 100, 100), pad_id=2)
    num_rows = NgramHasher(spec, range(3)).num_rows[1]  # whatever the vocabulary
    write_table(tmp_path / "root", "layer-1", index_rows(np.arange(num_rows), ROW_BYTES))

    result = result_of(run("load", f"file://{tmp_path / 'root'}", "--text", text, "--vocab-size", 100, *BRIEFLY))

    assert (result["load"]["rows"]["choice"], result["load"]["rows"]["folded"]) == ("text", False)
    assert result["load"]["rows"]["tokens"] > 50
    assert result["check"]["rows_wrong"] == 0 < result["check"]["rows_checked"]


def test_the_search_states_every_rate_it_tried_and_how_close_it_came(load):
    options = ("--find-rate", "--p99", "10s", "--rate", "600k/s", "--tolerance", "50%", "--max-in-flight", 4)

    outcome = load("--table", "index", *options, "--warm-up", "0s", "--duration", "20ms", "--rows", 1, "--json", "-")

    search = json.loads(outcome.out)["find_rate"]
    tried = {step["rate_per_second"]: step["holds"] for step in search["steps"]}
    assert outcome.status == 0, outcome.err
    assert search["tolerance"] == 0.5
    assert tried[search["highest_rate_per_second"]]
    assert not tried[search["lowest_rate_that_did_not_hold"]]
    assert search["lowest_rate_that_did_not_hold"] <= 1.5 * search["highest_rate_per_second"]
    assert all(step["why_not"] for step in search["steps"] if not step["holds"])


def test_people_get_a_summary_and_the_object_goes_to_a_file(load, tmp_path):
    file = tmp_path / "result.json"

    shown = load("--table", "index", "--rate", "100/s", *BRIEFLY[:-1], file)

    result = json.loads(file.read_text())
    assert shown.status == 0
    assert f"{result['fetches']['completed']:,} completed" in shown.out
    assert f"{result['fetches']['due']} due in the 0.3 s after the warm-up" in shown.out
    assert f"{result['check']['rows_checked']:,} rows compared, 0 wrong" in shown.out


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--rate", "5"), 2, "--rate"),
        (("--rows", "0"), 2, "--rows"),
        (("--concurrency", "2", "--rate", "5/s"), 2, "--concurrency 2 is a closed loop, which takes no --rate"),
        (("--concurrency", "2", "--processes", "3"), 2, "--processes 3"),
        (("--find-rate",), 2, "--p99"),
        (("--tolerance", "5%"), 2, "--tolerance is an option of --find-rate"),
        (("--zipf", "1", "--text", "f"), 2, "--zipf and --text"),
        (("--fold",), 2, "--fold is an option of --text"),
        (("--check", "root"), 2, "--root ROOT"),
        (("--check", "index", "--root", "r"), 2, "--root"),
        (("--json", "/nowhere/file"), 2, "/nowhere/file"),
        ((), 1, "name a table with --table, there are 3: damaged, index, random"),
        (("--table", "none"), 1, "'none'"),
        (("--table", "index", "--root", "/nowhere"), 1, "/nowhere"),
        (("--table", "index", "--rows", "16777216", "--max-in-flight", "4096"), 1, "at most 8 GiB"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(load, options, status, message):
    refused = load(*options)

    assert (refused.status, refused.out) == (status, "")
    assert message in refused.error


def test_a_store_that_answers_nothing_fails(root, run):
    with node_process(root) as node:
        node.stop(signal.SIGKILL)

        refused = run("load", node.url, "--timeout", "50ms", *BRIEFLY)

    assert (refused.status, refused.out) == (1, "")
    assert node.address in refused.error


def test_who_is_told_to_end_says_what_was_measured_so_far(node):
    command = [*COMMAND, node.url, "--table", "index", "--processes", "2", "--duration", "1h", "--json", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first_line = process.stderr.readline()  # what is shown while load runs
        process.terminate()
        out, err = process.communicate(timeout=TIME_LIMIT_SECONDS)

    result = json.loads(out)
    assert "completed" in first_line
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")
    assert result["interrupted"]
    assert result["fetches"]["completed"] == result["latency_ms"]["count"] > 0
    assert result["measured_seconds"] < 3600


def test_who_interrupts_the_warm_up_is_told_that_nothing_was_measured(node, tmp_path):
    file = tmp_path / "result.json"
    given = ("--table", "index", "--warm-up", "1h", "--json", str(file))
    with subprocess.Popen(
        [*COMMAND[:-4], node.url, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        first_line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIME_LIMIT_SECONDS)

    assert ", warming up" in first_line
    assert (out, err) == ("", "interrupted in the warm-up, nothing measured\n")
    assert process.returncode == 128 + signal.SIGINT
    assert not file.exists()


def test_progress_that_reaches_beyond_the_warm_up_does_not_say_warming_up(node):
    given = ("--table", "index", "--warm-up", "800ms", "--duration", "1h")
    with subprocess.Popen([*COMMAND[:-4], node.url, *given], stderr=subprocess.PIPE, text=True) as process:
        first_line = process.stderr.readline()  # of the first two seconds
        process.kill()

    assert "fetches/s" in first_line
    assert "warming up" not in first_line


def test_no_client_outlives_a_command_that_is_killed(node):
    command = [*COMMAND, node.url, "--table", "index", "--duration", "1h"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        process.stderr.readline()
        descendants = [os.pidfd_open(child) for child in descendants_of(process.pid)]
        process.kill()

    assert len(descendants) >= 2  # the client, and what it was forked from
    for descendant in descendants:
        ended, _, _ = select.select([descendant], [], [], TIME_LIMIT_SECONDS)  # readable once the process has ended
        os.close(descendant)
        assert ended


def test_on_a_terminal_the_view_renews_itself_until_ctrl_c_and_leaves_the_summary(node):
    ours, theirs = pty.openpty()
    command = [*COMMAND, node.url, "--table", "index", "--duration", "1h"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = read_until(ours, UP_A_LINE)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all processes
        out, _ = process.communicate(timeout=TIME_LIMIT_SECONDS)
    os.close(ours)

    assert process.returncode == 128 + signal.SIGINT
    assert b"p99" in shown
    assert b"wrong rows" in shown
    assert b"\x1b" not in out
    assert b"rows compared, 0 wrong" in out
    assert b"INTERRUPTED" in out


def descendants_of(process):
    children = map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    return [each for child in children for each in (child, *descendants_of(child))]


def read_until(terminal, expected):
    shown = b""
    while expected not in shown:
        ready, _, _ = select.select([terminal], [], [], TIME_LIMIT_SECONDS)
        assert ready, shown
        shown += os.read(terminal, 65536)
    return shown
