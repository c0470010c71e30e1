"""Finding repeats, against np.unique."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engram_client.distinct import find_distinct

INT64 = np.iinfo(np.int64)
# Few different keys, so that many repeat, and the ends of the range.
KEYS = st.sampled_from([0, 1, 2, -1, INT64.min, INT64.max, 1 << 60, 1 << 32]) | st.integers(INT64.min, INT64.max)


@settings(max_examples=50)
@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40), elements=KEYS))
def test_each_key_of_each_group_is_found_once_and_unfolds_to_where_it_stood(keys):
    first, inverse = find_distinct(keys)

    assert np.array_equal(keys.reshape(-1)[first][inverse], keys)
    groups = first // max(1, keys.shape[1])
    found = [sorted(keys.reshape(-1)[first[groups == group]].tolist()) for group in range(len(keys))]
    assert found == [np.unique(group).tolist() for group in keys]
    assert np.array_equal(first, np.unique(first))


# Found by search: their highest six bits are 0 after the multiplication of every round.
INSEPARABLE = np.array(
    [
        -4833178919134216632,
        -4445853075202728063,
        -5846541113625346272,
        5798046557024035357,
        -4981373189000325532,
        -8829866399156756153,
    ]
)


@pytest.mark.parametrize("num_groups", [1, 3])
def test_keys_that_no_hash_can_part_are_told_apart_all_the_same(num_groups):
    keys = np.tile(np.append(INSEPARABLE[0], INSEPARABLE), (num_groups, 1))

    first, inverse = find_distinct(keys)

    assert len(first) == num_groups * 6
    assert np.array_equal(keys.reshape(-1)[first][inverse], keys)


def test_a_view_with_gaps_is_read_as_it_stands():
    keys = np.arange(40).reshape(4, 10)[:, ::3] % 5

    first, inverse = find_distinct(keys)

    assert np.array_equal(keys.reshape(-1)[first][inverse], keys)


def test_random_keys_by_the_hundred_thousand_are_numpys():
    keys = np.random.default_rng(0).integers(0, 70_000, (1, 200_000))

    first, inverse = find_distinct(keys)

    assert len(first) == len(np.unique(keys))
    assert np.array_equal(keys[0, first][inverse], keys)
