"""Remembered scores against a plain dict: exact while there is room, and the lowest go first."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.row_cache.key_hash import hash_keys
from engram_client.row_cache.remembered import ENTRY_BYTES, RememberedScores

SCORES = st.integers(-40, 40).map(lambda number: number / 4)  # exact in sixteen bits


def note(memory, scores):
    memory.note(hash_keys(np.array(list(scores), np.int64)), np.array(list(scores.values()), np.float32))


def recall(memory, keys):
    return memory.recall(hash_keys(np.array(keys, np.int64))).tolist()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 30), SCORES), max_size=60))
def test_the_last_score_of_a_key_is_remembered_and_nothing_of_others(noted):
    memory, exact = RememberedScores(8000), {}
    for key, score in noted:
        note(memory, {key: score})
        exact[key] = score

    assert recall(memory, range(31)) == [exact.get(key, -np.inf) for key in range(31)]


def test_the_lowest_scores_make_room():
    memory = RememberedScores(8)  # one set
    for key in range(8):
        note(memory, {key: float(key)})
    note(memory, {100: 3.5})
    note(memory, {101: 3.25})

    assert recall(memory, [0, 1, 2, 7, 100, 101]) == [-np.inf, -np.inf, 2, 7, 3.5, 3.25]


def test_with_age_every_score_sinks_by_one():
    memory = RememberedScores(800)
    note(memory, {1: 5.0, 2: -0.5})

    memory.age()

    assert recall(memory, [1, 2, 3]) == [4, -1.5, -np.inf]


def test_it_takes_the_bytes_that_an_entry_is_said_to_take():
    assert RememberedScores(8000).nbytes == 8000 * ENTRY_BYTES
