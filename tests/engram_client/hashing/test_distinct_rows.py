"""Each n-gram said once: whatever the family, it unfolds to the rows that the plain hash gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.hashing import (
    HashSpec,
    LongcatHasher,
    LongcatSpec,
    NgramHasher,
    QwenPleHasher,
    QwenPleSpec,
    StudyHasher,
    StudySpec,
)

TOKEN_MAP = np.arange(30) * 7 % 23
ENGRAM = HashSpec(layer_ids=(1, 0), max_ngram=4, heads=2, vocab_sizes=(50, 60, 40), pad_id=2)
HASHERS = {
    "engram": NgramHasher(ENGRAM, TOKEN_MAP),
    "qwen-ple": QwenPleHasher(QwenPleSpec(layer_ids=(4, 1), vocab_size=30, eos_id=9, heads=3, head_rows=50)),
    "longcat": LongcatHasher(LongcatSpec(vocab_size=30, eos_id=9, max_ngram=4, heads=2, base_rows=78)),
    "study": StudyHasher(StudySpec(table_size=97, layer_ids=(0, 3), heads=3), TOKEN_MAP),
}


@pytest.mark.parametrize("family", HASHERS)
@settings(max_examples=40)
@given(data=st.data())
def test_distinct_rows_unfold_to_the_rows(family, data):
    hasher = HASHERS[family]
    batch, seq, cut = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    ids = random.integers(0, data.draw(st.sampled_from([2, 5, 30])), (batch, seq))
    packing = {
        "mask": random.random((batch, seq)) < 0.8 if data.draw(st.booleans()) else None,
        "sequence_ids": np.sort(random.integers(0, 4, (batch, seq))) if data.draw(st.booleans()) else None,
    }
    before = {name: None if given is None else given[:, :cut] for name, given in packing.items()}
    after = {name: None if given is None else given[:, cut:] for name, given in packing.items()}
    history = hasher.advance(None, ids[:, :cut], **before)
    layer = hasher.layer_ids[-1]

    distinct = hasher.distinct_rows(ids[:, cut:], layer, history=history, **after)

    rows = hasher.rows(ids[:, cut:], layer, history=history, **after)
    assert np.array_equal(distinct.expand(distinct.rows), rows)
    assert len(np.unique(distinct.rows, axis=0)) <= len(distinct.rows) <= max(1, distinct.inverse.size)
    table = random.integers(0, 256, (hasher.num_rows[layer], 3), dtype=np.uint8)
    out = np.zeros((*rows.shape, 3), np.uint8)
    assert distinct.expand(table[distinct.rows], out) is out
    assert np.array_equal(out, table[rows])


def test_each_ngram_of_each_order_is_said_once():
    hasher = HASHERS["engram"]
    ids = np.random.default_rng(0).integers(0, 6, (2, 500))

    distinct = hasher.distinct_rows(ids, 1)

    tokens = np.concatenate([np.full((2, 3), 2), ids], axis=1)  # behind the pad, as the sequence starts
    compressed = [TOKEN_MAP[of_sequence].tolist() for of_sequence in tokens]
    ngrams = {tuple(of[end - n : end]) for of in compressed for end in range(4, len(of) + 1) for n in (2, 3, 4)}
    assert distinct.rows.shape == (len(ngrams), hasher.spec.heads)
    assert distinct.inverse.shape == (2, 500, 3)
    assert distinct.share == len(ngrams) / 3000


def test_orders_that_share_a_mix_do_not_share_rows():
    hasher = NgramHasher(ENGRAM, np.zeros(3, np.int64))  # one compressed id, 0: every mix of every order is 0

    distinct = hasher.distinct_rows(np.zeros((1, 5), np.int64), 1)

    assert np.array_equal(distinct.expand(distinct.rows), hasher.rows(np.zeros((1, 5), np.int64), 1))
    assert len(distinct.rows) == 3


@pytest.mark.parametrize("family", HASHERS)
def test_a_layer_without_a_table_is_refused(family):
    with pytest.raises(KeyError, match="layer 7 is not hashed"):
        HASHERS[family].distinct_rows(np.zeros((1, 2), np.int64), 7)


@pytest.mark.parametrize("family", HASHERS)
@pytest.mark.parametrize("columns", [(0,), (1, 2), (0, 2, 3), (0, 1, 2, 3), "last", "all"])
def test_some_columns_unfold_to_those_columns_of_the_rows(family, columns):
    hasher = HASHERS[family]
    every = np.arange(hasher.columns)
    owned = {"last": every[-1:], "all": every}.get(columns) if isinstance(columns, str) else np.array(columns)
    ids = np.random.default_rng(3).integers(0, 5, (2, 90))
    layer = hasher.layer_ids[-1]

    distinct = hasher.distinct_rows(ids, layer).of_columns(owned)

    rows = hasher.rows(ids, layer)[..., owned]
    assert np.array_equal(distinct.expand(distinct.rows), rows)
    assert distinct.rows.size < rows.size
    assert distinct.rows.size <= hasher.distinct_rows(ids, layer).rows.size


def test_a_unit_of_which_every_head_is_taken_stays_whole():
    hasher = HASHERS["engram"]
    ids = np.random.default_rng(3).integers(0, 5, (2, 90))

    assert hasher.distinct_rows(ids, 1).of_columns(np.array([0, 1, 4, 5])).rows.shape[1] == 2
    assert hasher.distinct_rows(ids, 1).of_columns(np.array([1, 3])).rows.shape[1] == 1
    assert hasher.distinct_rows(ids, 1).of_columns(np.array([0, 1, 4])).rows.shape[1] == 1


@pytest.mark.parametrize("family", HASHERS)
def test_one_window_serves_all_layers_and_the_history(family):
    hasher = HASHERS[family]
    ids = np.random.default_rng(4).integers(0, 30, (2, 40))
    mask, documents = ids % 4 != 0, np.sort(ids % 3, axis=1)

    window = hasher.reader.window(ids, mask, documents, None)

    for layer in hasher.layer_ids:
        rows = hasher.rows(ids, layer, mask, documents)
        distinct = hasher.distinct_rows_of(window, layer)
        assert np.array_equal(hasher.rows_of(window, layer), rows)
        assert np.array_equal(distinct.expand(distinct.rows), rows)
    assert np.array_equal(window.history().tokens, hasher.advance(None, ids, mask, documents).tokens)


@pytest.mark.parametrize("family", HASHERS)
def test_a_window_of_another_hasher_is_refused(family):
    other = HASHERS["longcat" if family == "engram" else "engram"]
    window = other.reader.window(np.zeros((1, 2), np.int64), None, None, None)

    for hashes in (HASHERS[family].rows_of, HASHERS[family].distinct_rows_of):
        with pytest.raises(ValueError, match="so it cannot be hashed by"):
            hashes(window, HASHERS[family].layer_ids[0])
