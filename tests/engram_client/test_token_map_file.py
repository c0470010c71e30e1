from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engram_client.compression import TokenMapDamaged, load_token_map, save_token_map

TOKEN_MAP = np.arange(1000) * 7919 % 770


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_token_map(tmp_path / "tokens.map", TOKEN_MAP)
    return tmp_path / "tokens.map"


def change_line(path: Path, **changes: object) -> None:
    line, _, content = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(line), **changes}).encode() + b"\n" + content)


def test_a_token_map_comes_back_as_it_was_saved(saved: Path) -> None:
    token_map = load_token_map(saved)

    np.testing.assert_array_equal(token_map, TOKEN_MAP)
    assert token_map.dtype == np.int64
    assert not token_map.flags.writeable


def test_the_file_is_what_its_description_says(saved: Path) -> None:
    line, _, content = saved.read_bytes().partition(b"\n")

    facts = json.loads(line)
    assert list(facts) == ["compressed_size", "format", "token_map_sha256", "vocabulary_size"]
    assert b" " not in line
    assert (facts["compressed_size"], facts["format"], facts["vocabulary_size"]) == (770, "engram-token-map-v1", 1000)
    assert content == b"".join(int(number).to_bytes(4, "little") for number in TOKEN_MAP)


def test_saving_replaces_what_was_there_and_leaves_nothing_else(saved: Path) -> None:
    save_token_map(saved, [0, 1, 1])

    assert load_token_map(saved).tolist() == [0, 1, 1]
    assert [file.name for file in saved.parent.iterdir()] == ["tokens.map"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved: Path) -> None:
    (saved.parent / "directory").mkdir()

    with pytest.raises(OSError, match="directory"):
        save_token_map(saved.parent / "directory", [0, 1])
    with pytest.raises(ValueError, match=r"at most 4294967295 to be saved, got 4294967296"):
        save_token_map(saved, [0, 2**32])

    assert sorted(file.name for file in saved.parent.iterdir()) == ["directory", "tokens.map"]
    np.testing.assert_array_equal(load_token_map(saved), TOKEN_MAP)


def test_any_changed_byte_is_found_with_the_expected_and_the_found_digest(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    expected = json.loads(content.partition(b"\n")[0])["token_map_sha256"]
    content[-5] ^= 1
    saved.write_bytes(content)

    with pytest.raises(
        TokenMapDamaged, match=rf"tokens\.map: token_map_sha256 must be {expected}, found [0-9a-f]{{64}}"
    ):
        load_token_map(saved)


@pytest.mark.parametrize("cut", [1, 4, 3999, 4000])
def test_a_truncated_file_is_refused_with_the_sizes(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:-cut])

    with pytest.raises(TokenMapDamaged, match=rf"vocabulary_size is 1000.*found {4000 - cut} bytes"):
        load_token_map(saved)


def test_bytes_behind_the_map_are_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"more")

    with pytest.raises(TokenMapDamaged, match="found 4004 bytes"):
        load_token_map(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compressed_size": 771}, "compressed_size must be 771, found 770"),
        ({"vocabulary_size": 999}, "vocabulary_size is 999"),
        ({"vocabulary_size": "1000"}, "vocabulary_size is 1000"),
        ({"vocabulary_size": 0}, "vocabulary_size is 0"),
        ({"format": "engram-token-map-v2"}, "format must be engram-token-map-v1, found 'engram-token-map-v2'"),
        ({"token_map_sha256": None}, "token_map_sha256 must be None, found"),
        ({"pad_id": 2}, "the keys must be .* found .*pad_id"),
    ],
)
def test_a_first_line_that_does_not_fit_is_refused(saved: Path, changes: dict[str, object], message: str) -> None:
    change_line(saved, **changes)

    with pytest.raises(TokenMapDamaged, match=message):
        load_token_map(saved)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"[1]\n", b"{", b"\x93NUMPY\x01\x00", b"[" * 5000, b"\xff" * 99]
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)

    with pytest.raises(TokenMapDamaged, match="other: (no token map|format must be)"):
        load_token_map(tmp_path / "other")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_token_map(tmp_path / "missing")


def test_loading_needs_no_tokenizer_library(saved: Path) -> None:
    program = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from engram_client.compression import load_token_map\n"
        "print(len(load_token_map(sys.argv[1])))"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (ended.returncode, ended.stdout) == (0, "1000\n"), ended.stderr
