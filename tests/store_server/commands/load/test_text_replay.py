"""Texts are replayed through the hash of the table, or not at all."""

import json

import numpy as np
import pytest

from engram_client import TableInfo
from engram_client.hashing import HashSpec, NgramHasher
from store_server.commands.failure import CommandFailed
from store_server.commands.load.text_replay import Replay, text_choice

VOCAB_SIZE = 100
SPEC = HashSpec(layer_ids=(1, 14), max_ngram=4, heads=8, vocab_sizes=(VOCAB_SIZE,) * 3, pad_id=2)


class Letters:
    """A vocabulary of letters, upper and lower case the same."""

    token_map = np.array([min(code, ord(chr(code).lower())) for code in range(128)])
    compressed_size = int(token_map.max()) + 1

    def tokens(self, text):
        return np.array([ord(letter) for letter in text]), list(text)


HASHER = NgramHasher(SPEC, Letters.token_map)


def table(num_rows=HASHER.num_rows[1], fingerprint=""):
    return TableInfo(
        name="t",
        version="v",
        num_rows=num_rows,
        row_bytes=8,
        row_format="",
        fingerprint=fingerprint,
        backend="",
        max_rows_per_lookup=1,
    )


@pytest.fixture
def texts(tmp_path):
    files = (tmp_path / "a.txt", tmp_path / "b.txt")
    for file in files:
        file.write_text("Abc" + file.name)
    return files


def choose(texts, of_table, max_tokens=100, **how):
    how = {"vocab_size": VOCAB_SIZE, **how}
    return text_choice(Replay(files=texts, max_tokens=max_tokens, **how), of_table, Letters())


def test_texts_are_documents_of_token_ids(texts):
    choice = choose(texts, table(fingerprint=HASHER.fingerprint(1)))

    assert ["".join(map(chr, document)) for document in choice.documents] == ["Abca.txt", "Abcb.txt"]
    assert (choice.spec, choice.layer, choice.fold) == (SPEC, 1, False)


def test_no_more_tokens_are_read_than_asked_for(texts):
    assert [len(document) for document in choose(texts, table(), max_tokens=10).documents] == [8, 2]
    assert [len(document) for document in choose(texts, table(), max_tokens=8).documents] == [8]


def test_a_table_of_another_size_is_refused_with_both_sizes(texts):
    numbers = f"reaches {HASHER.num_rows[1]:,} rows, table 't' has 1,000, and the two numbers must be equal: "
    with pytest.raises(CommandFailed, match=numbers + "say which hash the table was made for with .*, or .* --fold"):
        choose(texts, table(num_rows=1000))


def test_a_table_of_the_same_size_and_another_hash_is_refused(texts):
    with pytest.raises(CommandFailed, match=f"{HASHER.fingerprint(1)}, table 't' has {HASHER.fingerprint(14)}"):
        choose(texts, table(fingerprint=HASHER.fingerprint(14)))


def test_any_table_will_do_if_rows_are_folded(texts):
    assert choose(texts, table(num_rows=1000, fingerprint="other"), fold=True).fold


def test_a_layer_without_a_table_is_refused(texts):
    with pytest.raises(CommandFailed, match="--layer must be one of 1, 14, got 3"):
        choose(texts, table(), layer=3)


@pytest.mark.parametrize("compressed", [Letters.compressed_size, 99_092])
def test_a_checkpoint_says_how_its_texts_are_hashed(texts, tmp_path, compressed):
    keys = {
        "engram_layer_ids": [1, 14],
        "engram_num_embeddings": [HASHER.num_rows[1], HASHER.num_rows[14]],
        "engram_max_ngram_size": 4,
        "engram_vocab_size": VOCAB_SIZE,
        "engram_n_heads": 8,
        "engram_head_dim": 256,
        "engram_pad_token_id": 2,
        "engram_compressed_vocab_size": compressed,
    }
    (tmp_path / "config.json").write_text(json.dumps(keys))

    if compressed == Letters.compressed_size:
        assert choose(texts, table(), vocab_size=None, checkpoint=tmp_path).spec == SPEC
    else:
        with pytest.raises(CommandFailed, match="99,092, the tokenizer of DeepSeek V4 has"):
            choose(texts, table(), vocab_size=None, checkpoint=tmp_path)
