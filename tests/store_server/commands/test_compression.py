from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from engram_client.compression import load_token_map

TOKENS = ["a", "A", "\u00e1", "b", "B", "c", "d", "e"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    Tokenizer(models.WordPiece(vocab=vocabulary)).save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_sizes_reduction_digest_and_largest_groups_are_printed(run: Callable, tokenizer: Path) -> None:
    printed = run("compression", tokenizer)

    digest = "c94e2e27a514b8ed3ec679f5a4733ba35e53b1cf04ba984b8707756f0980355d"
    assert printed.status == 0
    assert [line.split() for line in printed.out.splitlines()] == [
        ["token", "ids", "8"],
        ["compressed", "ids", "5"],
        ["reduction", "37.500%"],
        ["sha256", digest],
        ["largest", "groups"],
        ["3", "ids", "'a'", "'a'", "'A'", "'\u00e1'"],
        ["2", "ids", "'b'", "'b'", "'B'"],
    ]


def test_a_directory_with_a_tokenizer_says_the_same_as_the_file(run: Callable, tokenizer: Path) -> None:
    assert run("compression", tokenizer.parent).out == run("compression", tokenizer).out


def test_the_token_map_is_saved(run: Callable, tokenizer: Path, tmp_path: Path) -> None:
    printed = run("compression", tokenizer, "--save", tmp_path / "tokens.map")

    assert f"saved to        {tmp_path / 'tokens.map'}\n" in printed.out
    assert load_token_map(tmp_path / "tokens.map").tolist() == [0, 0, 0, 1, 1, 2, 3, 4]


def test_what_is_no_tokenizer_is_an_error_that_names_the_file(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"version": "1.0"}')

    refused = run("compression", tmp_path / "other.json")
    missing = run("compression", tmp_path / "missing.json")

    assert (refused.status, refused.out, missing.status, missing.out) == (1, "", 1, "")
    assert "other.json is not a tokenizer" in refused.error
    assert missing.error == f"error: {tmp_path}/missing.json: No such file or directory"
    assert "tokenizer.json" in run("compression", tmp_path).error


def test_a_file_that_cannot_be_written_is_an_error(run: Callable, tokenizer: Path, tmp_path: Path) -> None:
    refused = run("compression", tokenizer, "--save", tmp_path / "missing" / "tokens.map")

    assert refused.status == 1
    assert (
        refused.error == f"error: cannot save the token map to {tmp_path}/missing/tokens.map: No such file or directory"
    )
