"""The families beside engram: each against its literal second implementation, and what all families promise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import longcat_hash, qwen_ple_hash, study_hash
from support.hashing_in_pieces import rows_in_pieces

from engram_client.hashing import (
    HashSpec,
    LongcatHasher,
    LongcatSpec,
    NgramHasher,
    QwenPleHasher,
    QwenPleSpec,
    RowHasher,
    StudyHasher,
    StudySpec,
    local_indices,
)
from engram_client.hashing.qwen_ple import splitmix64

QWEN = QwenPleSpec(layer_ids=(4, 1), vocab_size=30, eos_id=9, heads=3, head_rows=50, row_multiple=16)
LONGCAT = LongcatSpec(vocab_size=30, eos_id=9, max_ngram=4, heads=2, base_rows=78)
STUDY = StudySpec(table_size=97, layer_ids=(0, 3), min_ngram=1, heads=3)
TOKEN_MAP = np.arange(30) * 7 % 23

HASHERS: dict[str, RowHasher] = {
    "engram": NgramHasher(
        HashSpec(layer_ids=(1, 0), max_ngram=4, heads=2, vocab_sizes=(50, 60, 40), pad_id=2), TOKEN_MAP
    ),
    "qwen-ple": QwenPleHasher(QWEN),
    "longcat": LongcatHasher(LONGCAT),
    "study": StudyHasher(STUDY, TOKEN_MAP),
}
OTHERS: dict[str, RowHasher] = {
    "qwen-ple": QwenPleHasher(replace(QWEN, eos_id=8)),
    "longcat": LongcatHasher(replace(LONGCAT, heads=3)),
    "study": StudyHasher(STUDY, TOKEN_MAP + 1),
}


def reference_rows(
    family: str,
    ids: NDArray[np.int64],
    layer: int,
    mask: NDArray[np.bool_] | None = None,
    documents: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    rows = [
        LITERAL[family](
            tokens,
            layer,
            mask=None if mask is None else mask[number].tolist(),
            documents=None if documents is None else documents[number].tolist(),
        )
        for number, tokens in enumerate(ids.tolist())
    ]
    return np.array(rows, dtype=np.int64).reshape(*ids.shape, HASHERS[family].columns)


def literal_qwen(tokens: list[int], layer: int, **packing) -> list[list[int]]:
    index = QWEN.layer_ids.index(layer)
    multipliers = qwen_ple_hash.draw_multipliers(QWEN.seed, index, QWEN.max_ngram, QWEN.vocab_size)
    primes = qwen_ple_hash.consecutive_primes(QWEN.head_rows, 12)[index * 6 : index * 6 + 6]
    return qwen_ple_hash.hash_sequence(tokens, multipliers, [primes[:3], primes[3:]], QWEN.eos_id, **packing)


def literal_longcat(tokens: list[int], layer: int, **packing) -> list[list[int]]:
    return longcat_hash.hash_sequence(tokens, vocab_size=30, eos=9, max_ngram=4, heads=2, base_rows=78, **packing)


def literal_study(tokens: list[int], layer: int, **packing) -> list[list[int]]:
    compressed = [int(TOKEN_MAP[token]) for token in tokens]
    hashed = study_hash.hash_sequence(compressed, min_ngram=1, max_ngram=4, heads=3, table_size=97, **packing)
    columns = [(order, head) for order in range(1, 5) for head in range(3)]
    return [[97 * i + of_token[order][head] for i, (order, head) in enumerate(columns)] for of_token in hashed]


LITERAL: dict[str, Callable[..., list[list[int]]]] = {
    "qwen-ple": literal_qwen,
    "longcat": literal_longcat,
    "study": literal_study,
}


@pytest.mark.parametrize("family", list(LITERAL))
@settings(deadline=None)
@given(data=st.data())
def test_any_pieces_give_the_rows_of_the_literal_hash(family: str, data: st.DataObject) -> None:
    batch, seq = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 12))
    grid = st.lists(st.integers(0, 2**16), min_size=batch * seq, max_size=batch * seq)
    grid = grid.map(lambda numbers: np.array(numbers, dtype=np.int64).reshape(batch, seq))
    ids = data.draw(grid) % 14 + (-2 if family == "longcat" else 0)  # EOS is 9
    mask = data.draw(st.none() | grid.map(lambda numbers: numbers % 4 > 0))
    documents = data.draw(st.none() | grid.map(lambda numbers: numbers % 3))
    cuts = sorted(data.draw(st.lists(st.integers(0, seq), max_size=seq)))
    hasher = HASHERS[family]
    layer = data.draw(st.sampled_from(hasher.layer_ids))

    whole = hasher.rows(ids, layer, mask=mask, sequence_ids=documents)
    pieces = rows_in_pieces(hasher, ids, layer, cuts, mask=mask, sequence_ids=documents)

    np.testing.assert_array_equal(pieces, whole)
    np.testing.assert_array_equal(whole, reference_rows(family, ids, layer, mask, documents))


@pytest.mark.parametrize("family", list(HASHERS))
def test_rows_lie_in_the_part_of_their_own_head(family: str) -> None:
    hasher = HASHERS[family]
    layer = hasher.layer_ids[-1]
    ids = (np.arange(4000) * 40503 % 30).reshape(2, 2000)

    rows = hasher.rows(ids, layer)

    ends = [*hasher.offsets[layer][1:].tolist(), hasher.num_rows[layer]]
    assert rows.shape == (2, 2000, hasher.columns)
    assert rows.dtype == np.int64
    assert (rows >= hasher.offsets[layer]).all()
    assert (rows < ends).all()


@pytest.mark.parametrize("family", list(HASHERS))
def test_local_indices_are_rows_without_offsets_by_order(family: str) -> None:
    hasher = HASHERS[family]
    layer = hasher.layer_ids[0]
    rows = hasher.rows([[1, 2, 3, 4, 5]], layer)

    indices = local_indices(hasher, rows, layer)

    assert list(indices) == list(hasher.orders)
    joined = np.concatenate(list(indices.values()), axis=-1)
    np.testing.assert_array_equal(joined + hasher.offsets[layer], rows)


@pytest.mark.parametrize("family", list(OTHERS))
def test_a_history_of_another_family_or_spec_is_refused_with_both(family: str) -> None:
    engram = HASHERS["engram"].advance(None, [[1, 2, 3]])
    other = OTHERS[family].advance(None, [[1, 2, 3]])

    for history, made_by in ((engram, "the engram family"), (other, f"the {family} family")):
        with pytest.raises(ValueError, match=rf"made by {made_by} of .* by the {family} family of"):
            HASHERS[family].rows([[4]], HASHERS[family].layer_ids[0], history=history)
        with pytest.raises(ValueError, match=rf"made by {made_by} of .* by the {family} family of"):
            HASHERS[family].advance(history, [[4]])


@pytest.mark.parametrize("family", list(HASHERS))
def test_an_id_beyond_the_vocabulary_is_refused_with_the_limit(family: str) -> None:
    hasher = HASHERS[family]

    with pytest.raises(IndexError, match=r"below 30.*got 30"):
        hasher.rows([[1, 30]], hasher.layer_ids[0])
    hasher.rows([[1, 30]], hasher.layer_ids[0], mask=[[True, False]])


@pytest.mark.parametrize("family", ["qwen-ple", "study"])
def test_negative_ids_are_refused_where_they_mean_nothing(family: str) -> None:
    hasher = HASHERS[family]

    with pytest.raises(IndexError, match="not be negative.*got -1"):
        hasher.rows([[1, -1]], hasher.layer_ids[0])
    hasher.rows([[1, -1]], hasher.layer_ids[0], mask=[[True, False]])


@pytest.mark.parametrize("family", list(HASHERS))
def test_a_layer_without_a_table_is_refused(family: str) -> None:
    with pytest.raises(KeyError, match="layer 7 is not hashed"):
        HASHERS[family].rows([[1]], 7)
    with pytest.raises(KeyError, match="layer 7 is not hashed"):
        HASHERS[family].fingerprint(7)


def test_qwen_flash_next_has_its_published_multipliers_primes_and_rows() -> None:
    hasher = QwenPleHasher(QwenPleSpec.flash_next())

    assert hasher.multipliers[1].tolist() == [23703573157769, 20109073645365, 8052911324071]
    assert hasher.primes[1].ravel().tolist()[:3] == [20000003, 20000023, 20000033]
    assert hasher.primes[1].ravel().tolist()[-1] == 20000171
    assert hasher.primes[1].ravel().tolist() == qwen_ple_hash.consecutive_primes(20_000_000, 16)
    assert int(hasher.primes[1].sum()) == 320_001_446
    assert hasher.num_rows == {1: 320_001_536}
    assert hasher.columns == 16


def test_splitmix64_gives_its_published_first_numbers() -> None:
    # The first outputs of the reference generator for the seed 1234567.
    states = [(1234567 + 0x9E3779B97F4A7C15 * step) % 2**64 for step in range(3)]

    assert [splitmix64(state) for state in states] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_qwen_stops_at_the_eos_before_a_token_but_an_eos_sees_its_own_document() -> None:
    hasher, eos = HASHERS["qwen-ple"], QWEN.eos_id

    rows = hasher.rows([[1, 2, eos, 3, 4]], 1)

    np.testing.assert_array_equal(rows[:, :3], hasher.rows([[1, 2, eos]], 1))
    np.testing.assert_array_equal(rows[:, 3:], hasher.rows([[3, 4]], 1))
    assert (rows[:, 2] != hasher.rows([[eos]], 1)[:, 0]).any()
    np.testing.assert_array_equal(hasher.rows([[3]], 1), hasher.rows([[eos, eos, 3]], 1)[:, 2:])


def test_longcat_flash_lite_has_odd_tables_one_behind_the_other() -> None:
    hasher = LongcatHasher(LongcatSpec.flash_lite())

    assert hasher.moduli.ravel().tolist() == [10_223_616 + 2 * column + 1 for column in range(12)]
    assert hasher.num_rows == {0: 122_683_536}
    rows = [[7, 5 + 131_072 * 7 % 10_223_617]]
    assert hasher.rows([[7, 5]], 0)[..., 0].tolist() == rows


def test_longcat_sees_nothing_behind_ignored_tokens_and_reads_the_first_rows_for_them() -> None:
    hasher = HASHERS["longcat"]

    rows = hasher.rows([[1, 2, -5, 3, 4]], 0)

    assert rows[0, 2].tolist() == hasher.offsets[0].tolist()
    np.testing.assert_array_equal(rows[:, 3:], hasher.rows([[3, 4]], 0))
    np.testing.assert_array_equal(rows, hasher.rows([[1, 2, 8, 3, 4]], 0, mask=[[True, True, False, True, True]]))


def test_study_bases_and_moduli_are_the_first_primes_from_where_they_start() -> None:
    small, default = StudyHasher(StudySpec(table_size=97), [0]), StudyHasher(StudySpec(table_size=1_000_000), [0])

    assert small.bases.tolist() == [31, 131, 233, 331]
    assert small.moduli.tolist() == [97, 1097, 2099, 3109]
    assert default.moduli.tolist() == [1_000_003, 1_001_003, 1_002_017, 1_003_001]
    assert default.num_rows == {0: 12_000_000}


def test_study_indices_are_those_of_the_published_program() -> None:
    # From the study implementation: vocab_size 500, min_n 2, max_n 4, 4 heads, embedding_table_size 97.
    indices = StudyHasher(StudySpec(table_size=97), np.arange(500)).indices([[425, 236, 113]])

    assert indices[2][0].tolist() == [[80, 49, 81, 91], [78, 43, 63, 40], [53, 2, 19, 40]]
    assert indices.keys() == {2, 3, 4}


def test_study_hashes_all_layers_alike_and_gives_them_fingerprints_of_their_own() -> None:
    hasher = HASHERS["study"]

    np.testing.assert_array_equal(hasher.rows([[1, 2, 3]], 0), hasher.rows([[1, 2, 3]], 3))
    assert hasher.fingerprint(0) != hasher.fingerprint(3)


def facts_of(family: str) -> dict[str, object]:
    digest = hashlib.sha256(b"".join(int(number).to_bytes(8, "little") for number in TOKEN_MAP)).hexdigest()
    facts: dict[str, dict[str, object]] = {
        "qwen-ple": {
            "eos_id": 9,
            "family": "qwen-ple",
            "heads": 3,
            "layer": 4,
            "max_ngram": 3,
            "multipliers": qwen_ple_hash.draw_multipliers(1234, 0, 3, 30),
            "num_rows": 384,
            "primes": [[53, 59, 61], [67, 71, 73]],
            "vocab_size": 30,
        },
        "longcat": {
            "base_rows": 78,
            "eos_id": 9,
            "family": "longcat",
            "heads": 2,
            "layer": 0,
            "max_ngram": 4,
            "moduli": [[79, 81], [83, 85], [87, 89]],
            "vocab_size": 30,
        },
        "study": {
            "bases": [31, 131, 233],
            "family": "study",
            "heads": 3,
            "layer": 0,
            "max_ngram": 4,
            "min_ngram": 1,
            "moduli": [97, 1097, 2099],
            "table_size": 97,
            "token_map_sha256": digest,
        },
    }
    return facts[family]


@pytest.mark.parametrize("family", list(LITERAL))
def test_a_fingerprint_is_the_digest_that_its_description_says(family: str) -> None:
    line = json.dumps(facts_of(family)).replace(" ", "")

    fingerprint = HASHERS[family].fingerprint(HASHERS[family].layer_ids[0])

    assert fingerprint == f"{family}-v1:{hashlib.sha256(line.encode()).hexdigest()}"


def test_fingerprints_of_other_parameters_and_layers_differ() -> None:
    hashers = [
        *HASHERS.values(),
        *OTHERS.values(),
        *(QwenPleHasher(replace(QWEN, **change)) for change in ({"seed": 1}, {"row_multiple": 512}, {"head_rows": 90})),
        *(LongcatHasher(replace(LONGCAT, **change)) for change in ({"base_rows": 80}, {"max_ngram": 3}, {"eos_id": 8})),
        *(StudyHasher(replace(STUDY, **change), TOKEN_MAP) for change in ({"table_size": 98}, {"min_ngram": 2})),
    ]

    fingerprints = [hasher.fingerprint(layer) for hasher in hashers for layer in hasher.layer_ids]

    assert len(set(fingerprints)) == len(fingerprints)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(QWEN, eos_id=30), "eos_id must lie between 0 and vocab_size - 1 = 29, got 30"),
        (lambda: replace(QWEN, layer_ids=()), "at least one layer"),
        (lambda: replace(QWEN, layer_ids=(1, 1)), "distinct"),
        (lambda: replace(QWEN, max_ngram=1), "max_ngram must be at least 2, got 1"),
        (lambda: replace(QWEN, heads=0), "heads must be at least 1, got 0"),
        (lambda: replace(QWEN, head_rows=0), "head_rows must lie between 1"),
        (lambda: replace(QWEN, row_multiple=0), "row_multiple must be at least 1, got 0"),
        (lambda: replace(QWEN, seed=-1), "seed must be at least 0, got -1"),
        (lambda: replace(LONGCAT, eos_id=-1), "eos_id must lie between 0 and vocab_size - 1 = 29, got -1"),
        (lambda: replace(LONGCAT, base_rows=0), "base_rows must lie between 1"),
        (lambda: replace(LONGCAT, max_ngram=1), "max_ngram must be at least 2, got 1"),
        (lambda: LongcatHasher(replace(LONGCAT, vocab_size=2**40, base_rows=2**39)), f"must stay below {2**63}"),
        (lambda: replace(STUDY, min_ngram=0), "min_ngram must be at least 1, got 0"),
        (lambda: replace(STUDY, max_ngram=0), "max_ngram must be at least min_ngram 1, got 0"),
        (lambda: replace(STUDY, table_size=0), "table_size must lie between 1"),
        (lambda: StudyHasher(replace(STUDY, max_ngram=9), TOKEN_MAP), r"233\*\*.*largest compressed id 22.*got 9"),
        (lambda: StudyHasher(STUDY, [0, -1]), "got -1 in the token map"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_settings_that_are_no_integers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"heads must be made of integers, got 2\.0"):
        replace(LONGCAT, heads=2.0)
