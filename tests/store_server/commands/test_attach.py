from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.tokenizer import COMPRESSED_SIZE, write_tokenizer

from store_server.storage import DataRoot
from store_server.storage.checkpoint import synthetic_rows
from store_server.storage.files.safetensors_file import read_safetensors_file


@pytest.fixture
def checkpoint(run: Callable, tmp_path: Path) -> Path:
    """A small checkpoint with a tokenizer."""
    write_tokenizer(tmp_path / "words.json")
    made = run("synth-checkpoint", tmp_path / "ck", "--scale", 1e-5, "--tokenizer", tmp_path / "words.json")
    assert made.status == 0, made.err
    return tmp_path / "ck"


def hexadecimal(row: int, layer: int) -> str:
    return synthetic_rows(np.array([row]), layer, 256)[0, :16].tobytes().hex(" ")


def test_a_checkpoint_becomes_a_table_a_layer_and_nothing_is_copied(
    run: Callable, root: Path, checkpoint: Path
) -> None:
    attached = run("attach", root, "v41", "--checkpoint", checkpoint)

    assert attached.status == 0
    assert [line for line in attached.out.splitlines() if line.startswith("table")] == [
        "table    v41/layer-1",
        "table    v41/layer-14",
    ]
    assert attached.out.count("fingerprint  engram-v1:") == 2
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 5_000
    _, first, second = run("tables", root).out.splitlines()
    assert first.split()[0::4][:2] == ["v41/layer-1", "float8_e4m3+e8m0/32"]
    assert second.split()[5] == "safetensors"


def test_without_a_tokenizer_it_is_said_that_there_is_no_fingerprint_as_inspect_says_it(
    run: Callable, root: Path, checkpoint: Path
) -> None:
    (checkpoint / "tokenizer.json").unlink()

    attached = run("attach", root, "v41", "--checkpoint", checkpoint)

    described = run("inspect", root, "v41/layer-1").out
    assert attached.out.count("fingerprint  -\n") == 2
    assert re.search(r"^fingerprint +-$", described, re.MULTILINE)
    assert f"engram_compressed_vocab_size {COMPRESSED_SIZE} was taken from config.json unchecked" in attached.out


def test_the_rows_and_the_places_of_an_attached_table_can_be_seen(run: Callable, root: Path, checkpoint: Path) -> None:
    run("attach", root, "v41", "--checkpoint", checkpoint)

    described = run("inspect", root, "v41/layer-14").out
    rows = run("inspect", root, "v41/layer-14", "--rows", "0,4000").out

    assert f"{checkpoint}/model-00048-of-00048.safetensors" in described
    assert "layers.14.engram.embed.scale, 8 bytes a row from byte" in described
    assert "no digests before the first `verify`" in described
    assert hexadecimal(0, 14) in rows
    assert hexadecimal(4_000, 14) in rows


def test_the_first_verify_records_and_the_next_compares(run: Callable, root: Path, checkpoint: Path) -> None:
    run("attach", root, "v41", "--checkpoint", checkpoint)

    outcomes = [[line.split()[0] for line in run("verify", root).out.splitlines()] for _ in range(2)]

    assert outcomes == [["recorded", "recorded"], ["ok", "ok"]]
    assert "xxh3_128" in run("inspect", root, "v41/layer-1").out


def test_a_checkpoint_with_a_fault_in_its_last_layer_attaches_nothing(
    run: Callable, root: Path, checkpoint: Path
) -> None:
    (checkpoint / "model-00048-of-00048.safetensors").unlink()

    refused = run("attach", root, "v41", "--checkpoint", checkpoint)

    assert (refused.status, refused.out) == (1, "")
    assert "weight_map: layers.14.engram.embed.weight" in refused.error
    assert not root.exists()


def test_attaching_what_is_attached_changes_nothing_and_says_so(run: Callable, root: Path, checkpoint: Path) -> None:
    run("attach", root, "v41", "--checkpoint", checkpoint)
    files = {path: path.stat().st_ino for path in (root / "tables").rglob("*")}

    again = run("attach", root, "v41", "--checkpoint", checkpoint)
    assert {path: path.stat().st_ino for path in (root / "tables").rglob("*")} == files
    (checkpoint / "model-00047-of-00048.safetensors").touch()
    touched = run("attach", root, "v41", "--checkpoint", checkpoint)

    assert re.findall("unchanged: version (.*) is already current", again.out) == re.findall("version  (.*)", again.out)
    assert re.findall("version  (.*)", touched.out) == re.findall("version  (.*)", again.out)
    assert touched.out.count("unchanged: version") == 1


def test_a_retrained_checkpoint_becomes_a_new_version(run: Callable, root: Path, checkpoint: Path) -> None:
    run("attach", root, "v41", "--checkpoint", checkpoint)
    retrained = checkpoint.with_name("retrained")
    shutil.copytree(checkpoint, retrained)
    path = retrained / "model-00047-of-00048.safetensors"
    weights = read_safetensors_file(path).tensors["layers.1.engram.embed.weight"]
    with path.open("r+b") as file:
        file.seek(weights.offset + weights.num_bytes - 256)
        file.write(bytes(256))  # the last row

    run("attach", root, "v41", "--checkpoint", retrained)

    data_root = DataRoot.open(root)
    assert [len(data_root.versions(f"v41/layer-{layer}")) for layer in (1, 14)] == [2, 1]
    last = data_root.manifest("v41/layer-1", data_root.current_version("v41/layer-1")).num_rows - 1
    assert "00 " * 16 in run("inspect", root, "v41/layer-1", "--rows", last).out


def test_a_place_that_is_no_directory_is_refused(run: Callable, root: Path, tmp_path: Path) -> None:
    refused = run("attach", root, "v41", "--checkpoint", tmp_path / "none")

    message = "no such directory; --checkpoint takes the one with config.json in it"
    assert (refused.status, refused.error) == (1, f"error: {tmp_path}/none: {message}")
    assert not root.exists()


def test_a_directory_that_is_no_checkpoint_is_refused(run: Callable, root: Path, tmp_path: Path) -> None:
    refused = run("attach", root, "v41", "--checkpoint", tmp_path)

    assert refused.status == 1
    assert (
        f"{tmp_path}/config.json: file: expected it to be there, as in every checkpoint, found no such file"
        in refused.error
    )


def test_a_checkpoint_may_be_named_from_where_one_stands(
    run: Callable, root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    run("attach", root, "v41", "--checkpoint", "ck")
    monkeypatch.chdir("/")

    assert hexadecimal(0, 1) in run("inspect", root, "v41/layer-1", "--rows", "0").out


def test_a_sparse_checkpoint_is_small_on_the_disk(run: Callable, tmp_path: Path) -> None:
    made = run("synth-checkpoint", tmp_path / "ck", "--scale", 0.01, "--sparse")

    config = json.loads((tmp_path / "ck" / "config.json").read_text())["text_config"]
    files = list((tmp_path / "ck").glob("*.safetensors"))
    assert [str(rows) in made.out for rows in config["engram_num_embeddings"]] == [True, True]
    assert sum(path.stat().st_size for path in files) > 2e9
    assert sum(path.stat().st_blocks * 512 for path in files) < 8e6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--scale", "0"], (2, "error: Invalid value: --scale must be 6.2e-08 to 1, got 0.0")),
        (["--scale", "1e-5", "--tokenizer", "/none.json"], (1, "error: /none.json: No such file or directory")),
        (
            ["--scale", "1e-5", "--tokenizer", "/dev/null"],
            (1, "error: --tokenizer: /dev/null is not a tokenizer of the "),
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_made_up_is_refused(
    run: Callable, tmp_path: Path, arguments: list[str], expected: tuple[int, str]
) -> None:
    refused = run("synth-checkpoint", tmp_path / "ck", *arguments)

    assert (refused.status, refused.error[: len(expected[1])]) == expected
    assert list(tmp_path.iterdir()) == []
