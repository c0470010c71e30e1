"""The row cache against a plain dict: it may forget, it may never lie, and it keeps what is asked for often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_client.row_cache import RowCache, set_bytes

ROW_BYTES = 5
KEYS = st.lists(st.integers(0, 40) | st.integers(0, (1 << 62) - 1), max_size=60).map(lambda keys: np.array(keys, "i8"))


def rows_of(keys, salt=0):
    """A row for each key, (n, ROW_BYTES): any two keys of a test differ."""
    words = (keys.astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
    return np.ascontiguousarray(words[:, None].view(np.uint8)[:, 3:])


def cache_of(num_sets, row_bytes=ROW_BYTES):
    return RowCache(num_sets * set_bytes(row_bytes), row_bytes)


def look_up(cache, keys):
    """Ask for keys and put in those that are missing, as a fetch does; returns how many were there."""
    out = np.zeros((len(keys), ROW_BYTES), np.uint8)
    missing = cache.take(keys, out)
    cache.put(keys[missing], rows_of(keys[missing]))
    out[missing] = rows_of(keys[missing])
    assert np.array_equal(out, rows_of(keys))
    return len(keys) - len(missing)


@settings(max_examples=60)
@given(num_sets=st.integers(1, 4), calls=st.lists(st.tuples(st.booleans(), KEYS), max_size=30))
def test_it_returns_what_was_put_in_under_the_key_or_says_that_it_is_missing(num_sets, calls):
    cache, put_in = cache_of(num_sets), set()
    for is_put, keys in calls:
        if is_put:
            cache.put(keys, rows_of(keys))
            put_in.update(keys.tolist())
            continue
        out = np.full((len(keys), ROW_BYTES), 7, np.uint8)
        missing = cache.take(keys, out)

        held = np.setdiff1d(np.arange(len(keys)), missing)
        assert np.array_equal(missing, np.unique(missing))
        assert set(keys[held].tolist()) <= put_in
        assert np.array_equal(out[held], rows_of(keys[held]))
        assert (out[missing] == 7).all()


@given(KEYS)
def test_keys_that_repeat_or_are_put_in_twice_are_held_once(keys):
    cache = cache_of(1)
    cache.put(np.repeat(keys, 2), rows_of(np.repeat(keys, 2)))
    cache.put(keys, rows_of(keys))
    others = np.arange(8) + (1 << 61)
    for _ in range(2):  # a call admits four rows a set at most
        cache.put(others, rows_of(others))

    asked = np.unique(np.concatenate([keys, others]))  # hypothesis tries the others as keys, too
    missing = cache.take(asked, np.zeros((len(asked), ROW_BYTES), np.uint8))

    assert len(asked) - len(missing) == min(8, len(asked))  # a set has eight slots: none was wasted on a repeat


@pytest.mark.parametrize("row_bytes", [1, 3, 8, 264])
def test_rows_of_any_width_come_back_whole(row_bytes):
    cache = cache_of(100, row_bytes)
    keys = np.arange(50) * 1000
    rows = np.random.default_rng(0).integers(0, 256, (50, row_bytes), dtype=np.uint8)
    cache.put(keys, rows)
    out = np.zeros((50, row_bytes), np.uint8)

    missing = cache.take(keys, out)

    out[missing] = rows[missing]
    assert np.array_equal(out, rows)
    assert len(missing) < 5


def test_large_batches_are_answered_like_small_ones():
    cache, keys = cache_of(8000), np.random.default_rng(1).permutation(50_000)

    assert look_up(cache, keys) == 0
    assert look_up(cache, keys) > 40_000


def test_rows_that_are_asked_for_often_survive_a_flood_of_rows_asked_for_once():
    cache = cache_of(200)  # 1,600 slots
    often = np.arange(800)
    for _ in range(6):
        look_up(cache, often)
    for flood in range(4):
        look_up(cache, 10_000 + flood * 1000 + np.arange(1000))  # least recently used would keep none of them

    out = np.zeros((800, ROW_BYTES), np.uint8)
    assert 800 - len(cache.take(often, out)) > 750


def test_rows_that_were_asked_for_often_long_ago_give_way():
    cache = cache_of(50)  # 400 slots
    for _ in range(20):
        look_up(cache, np.arange(400))
    today = 10_000 + np.arange(300)
    for _ in range(100):
        look_up(cache, today)

    assert look_up(cache, today) > 280


def test_a_row_asked_for_once_pushes_out_none_that_is_asked_for_often():
    cache, often = cache_of(1), np.arange(8)
    for _ in range(6):
        look_up(cache, often)
    look_up(cache, np.array([50, 51, 52]))

    assert look_up(cache, often) == 8


def test_asking_now_and_then_does_not_add_up_to_asking_often():
    cache, often, seldom = cache_of(1), np.arange(8), np.array([99])
    for _ in range(4):
        look_up(cache, often)
    for _ in range(60):
        assert look_up(cache, seldom) == 0
        for _ in range(3):
            look_up(cache, often)


def test_a_row_that_keeps_being_asked_for_gets_in_although_the_cache_is_full_of_better_ones():
    cache = cache_of(1)
    for _ in range(3):
        look_up(cache, np.arange(8))
    wanted = np.array([99])

    assert sum(look_up(cache, wanted) for _ in range(6)) >= 2


@pytest.mark.parametrize("cache_bytes", [set_bytes(264), 1_000_000, 33_333_333])
@pytest.mark.parametrize("row_bytes", [1, 264])
def test_it_holds_no_more_bytes_than_it_was_given_and_uses_nearly_all(cache_bytes, row_bytes):
    cache = RowCache(cache_bytes, row_bytes)

    assert cache_bytes - set_bytes(row_bytes) < cache.nbytes <= cache_bytes
    assert cache.num_slots * row_bytes <= cache_bytes


def test_bytes_for_less_than_one_set_are_refused():
    with pytest.raises(ValueError, match=f"at least {set_bytes(264)} .* got 100"):
        RowCache(100, 264)


def test_a_share_of_the_sets_does_what_it_does_among_all_of_them():
    whole, part, chosen = cache_of(64), cache_of(64), np.random.default_rng(3)
    hits = {whole: 0, part: 0}
    for _ in range(60):
        keys = np.unique(chosen.zipf(1.2, 400) % 3000)
        found = []
        for cache, share in ((whole, 1.0), (part, 0.25)):
            out = np.zeros((len(keys), ROW_BYTES), np.uint8)
            missing = cache.take(keys, out, share)
            held = np.setdiff1d(np.arange(len(keys)), missing)
            assert np.array_equal(out[held], rows_of(keys[held]))
            cache.put(keys[missing], rows_of(keys[missing]), share)
            hits[cache] += len(held)
            found.append(set(keys[held].tolist()))
        assert found[1] <= found[0]

    assert 0.1 < hits[part] / hits[whole] < 0.5


def admitted_from_a_crowd(cache, keys):
    """Long after all that came before, offer keys with twelve new ones that precede them; returns how many get in."""
    cache.take(np.arange(10_000, 10_320), np.zeros((320, ROW_BYTES), np.uint8))  # eight halvings of eight slots
    crowd = np.concatenate([np.arange(200, 212), keys])
    cache.put(crowd, rows_of(crowd))
    return len(keys) - len(cache.take(keys, np.zeros((len(keys), ROW_BYTES), np.uint8)))


def test_of_a_batch_too_large_for_a_set_those_that_were_refused_before_come_first():
    cache, refused = cache_of(1), np.array([900, 901])
    for _ in range(4):
        look_up(cache, np.arange(8))
    for _ in range(2):
        assert look_up(cache, refused) == 0

    assert admitted_from_a_crowd(cache, refused) == 2


def test_of_a_batch_too_large_for_a_set_those_that_were_pushed_out_before_come_first():
    cache, pushed_out = cache_of(1), np.array([900])
    look_up(cache, pushed_out)
    for _ in range(4):
        look_up(cache, np.arange(8))
    assert cache.take(pushed_out, np.zeros((1, ROW_BYTES), np.uint8)).size == 1

    assert admitted_from_a_crowd(cache, pushed_out) == 1


def test_a_row_that_is_held_already_takes_no_second_slot():
    cache, keys = cache_of(1), np.arange(4)
    cache.put(keys, rows_of(keys))
    cache.put(keys, rows_of(keys))  # another fetch had asked for the same meanwhile
    assert look_up(cache, keys) == 4  # from now on others do not push them out
    others = np.arange(10, 14)
    cache.put(others, rows_of(others))

    assert look_up(cache, np.concatenate([keys, others])) == 8
