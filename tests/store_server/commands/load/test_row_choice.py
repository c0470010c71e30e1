"""Which rows are asked for."""

import numpy as np
import pytest
from reference import engram_hash as reference

from engram_client.hashing import HashSpec
from store_server.commands.load.row_choice import TextChoice, UniformChoice, ZipfChoice, row_source
from store_server.commands.load.zipf import Zipf, scatter

SPEC = HashSpec(layer_ids=(1, 14), max_ngram=3, heads=2, vocab_sizes=(50, 50), pad_id=2)
TOKEN_MAP = np.array([0, 1, 2, 1, 3, 4, 5, 0])


def text_choice(*documents, fold=False):
    return TextChoice(
        names=("text",),
        documents=tuple(map(np.array, documents)),
        token_map=TOKEN_MAP,
        spec=SPEC,
        layer=14,
        fold=fold,
    )


def rows_by_hand(tokens):
    multipliers = reference.draw_multipliers(0, 14, 3, 6)
    primes = reference.find_primes([1, 14], [50, 50], 2)[14]
    compressed = [int(TOKEN_MAP[token]) for token in tokens]
    of_tokens = reference.hash_sequence(compressed, reference.LayerHash(multipliers, primes, 2))
    return [row for of_token in of_tokens for row in of_token]


def take(choice, num_rows, count, **how):
    return row_source(choice, num_rows, **{"seed": 0, "share": 0, "shares": 1, **how}).take(count)


def test_uniform_rows_are_all_rows_alike():
    counts = np.bincount(take(UniformChoice(), 10, 100_000), minlength=10)

    assert len(counts) == 10
    np.testing.assert_allclose(counts, 10_000, rtol=0.05)


@pytest.mark.parametrize("exponent", [0.5, 0.99, 1.0, 1.1, 2.5])
@pytest.mark.parametrize("size", [1, 2, 37])
def test_ranks_follow_zipfs_law(exponent, size):
    ranks = Zipf(size, exponent, np.random.default_rng(1)).ranks(200_000)

    weights = np.arange(1, size + 1) ** -exponent
    shares = np.bincount(ranks, minlength=size + 1)[1:] / 200_000
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.005)


def test_the_law_holds_in_a_table_that_no_list_of_weights_would_fit_into_memory_for():
    size = 384_006_168
    ranks = Zipf(size, 1.0, np.random.default_rng(1)).ranks(200_000)

    assert 1 <= ranks.min() <= ranks.max() <= size
    harmonic = np.log(size) + np.euler_gamma
    assert np.mean(ranks == 1) == pytest.approx(1 / harmonic, rel=0.05)
    assert np.mean(ranks <= 1000) == pytest.approx((np.log(1000) + np.euler_gamma) / harmonic, rel=0.02)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1009, 4096])
def test_every_rank_has_a_row_of_its_own(size):
    assert sorted(scatter(np.arange(1, size + 1), size)) == list(range(size))


def test_rows_of_huge_tables_are_scattered_without_overflow():
    size = 2**39 - 7
    first, second, last = scatter(np.array([1, 2, size]), size).tolist()

    assert first == 0
    assert second * (size - 1) % size == last


def test_zipf_rows_lie_in_the_table():
    rows = take(ZipfChoice(1.2), 1000, 50_000)

    assert (rows.min(), rows.max()) == (0, 999)
    assert np.bincount(rows).argmax() == 0


def test_a_text_asks_for_the_rows_that_its_ngrams_hash_to_again_and_again():
    tokens = [0, 3, 4, 4, 1, 7]

    rows = take(text_choice(tokens), 10**6, 60)

    by_hand = rows_by_hand(tokens)
    assert len(by_hand) == 24
    assert rows.tolist() == (by_hand * 3)[:60]


def test_ngrams_do_not_reach_from_one_text_into_the_next():
    rows = take(text_choice([0, 3, 4], [4, 1, 7]), 10**6, 24)

    assert rows.tolist() == rows_by_hand([0, 3, 4]) + rows_by_hand([4, 1, 7])


def test_folded_rows_are_those_of_the_hash_modulo_the_table():
    tokens = [0, 3, 4, 4, 1, 7]

    rows = take(text_choice(tokens, fold=True), 10, 24)

    assert rows.tolist() == [row % 10 for row in rows_by_hand(tokens)]


def test_each_process_begins_a_text_at_another_place():
    tokens = [0, 3, 4, 4, 1, 7]

    second = take(text_choice(tokens), 10**6, 24, share=1, shares=2)

    by_hand = rows_by_hand(tokens)
    assert second.tolist() == by_hand[12:] + by_hand[:12]


def test_processes_draw_different_rows():
    assert (take(UniformChoice(), 10**9, 20, share=0) != take(UniformChoice(), 10**9, 20, share=1)).all()
