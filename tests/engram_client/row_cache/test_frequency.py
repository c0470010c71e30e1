"""Counts of the frequency sketch against exact ones."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.row_cache.frequency import FrequencySketch
from engram_client.row_cache.key_hash import hash_keys


def count(sketch, keys):
    return sketch.count(hash_keys(np.array(keys, np.int64))).tolist()


@settings(max_examples=30)
@given(st.lists(st.sets(st.integers(0, 50), min_size=1).map(sorted), max_size=8), st.integers(16, 400))
def test_a_count_is_never_too_low(batches, num_bytes):
    sketch, exact = FrequencySketch(num_bytes), Counter()
    for keys in batches:
        exact.update(keys)
        found = count(sketch, keys)

        assert all(at_least >= exact[key] for key, at_least in zip(keys, found, strict=True))


def test_counts_are_exact_while_there_is_room():
    sketch = FrequencySketch(100_000)
    for _ in range(5):
        last = count(sketch, range(1000))

    assert last == [5] * 1000


def test_counts_stop_at_255_and_halve_with_age():
    sketch = FrequencySketch(1000)
    for _ in range(300):
        last = count(sketch, [7])
    assert last == [255]

    sketch.age()

    assert count(sketch, [7]) == [128]
    assert count(sketch, [8]) == [1]
