from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import engram_hash as reference
from support.hashing_in_pieces import rows_in_pieces

from engram_client.hashing import HashSpec, NgramHasher
from engram_client.hashing.primes import head_primes

DEMO = HashSpec(layer_ids=(1, 15), max_ngram=3, heads=8, vocab_sizes=(646400, 646400), pad_id=2)
V41 = HashSpec(layer_ids=(1, 14), max_ngram=4, heads=8, vocab_sizes=(16_000_000,) * 3, pad_id=2)
SMALL = HashSpec(layer_ids=(0, 2, 5), max_ngram=4, heads=4, vocab_sizes=(1000, 2000, 500), pad_id=0, seed=7)
CROWDED = HashSpec(layer_ids=(3, 1, 2), max_ngram=3, heads=3, vocab_sizes=(20, 23), pad_id=0)


def token_map(vocabulary: int, compressed_size: int) -> NDArray[np.int64]:
    """A map that reaches every compressed id, in no simple order."""
    return np.arange(vocabulary) * 7919 % compressed_size


def some_ids(vocabulary: int, batch: int = 3, seq: int = 40) -> NDArray[np.int64]:
    return (np.arange(batch * seq) * 40503 % vocabulary).reshape(batch, seq)


MASK = (np.arange(120) % 7 != 5).reshape(3, 40)
DOCUMENTS = np.tile(np.repeat([1, 1, 2, 3, 3, 3, 0, 4], 5), (3, 1))

HASHERS = {
    "demo": NgramHasher(DEMO, token_map(128815, 98627)),
    "demo, layer 14": NgramHasher(replace(DEMO, layer_ids=(14,)), token_map(128815, 98627)),
    "v41": NgramHasher(V41, token_map(129280, 99092)),
    "small": NgramHasher(SMALL, token_map(640, 477)),
    "crowded": NgramHasher(CROWDED, token_map(60, 50)),
}


def sha256(array: NDArray[np.int64]) -> str:
    return hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()


def reference_layer(hasher: NgramHasher, layer: int) -> reference.LayerHash:
    return reference.LayerHash(
        multipliers=hasher.multipliers[layer].tolist(),
        primes=hasher.primes[layer].tolist(),
        pad_id=int(hasher.token_map[hasher.spec.pad_id]),
    )


def reference_rows(
    hasher: NgramHasher,
    layer: int,
    ids: NDArray[np.int64],
    mask: NDArray[np.bool_] | None = None,
    documents: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    compressed = [[reference.compress(token, hasher.token_map.tolist()) for token in row] for row in ids.tolist()]
    masks = [None] * len(ids) if mask is None else mask.tolist()
    packed = [None] * len(ids) if documents is None else documents.tolist()
    parameters = reference_layer(hasher, layer)
    rows = [
        reference.hash_sequence(tokens, parameters, *packing)
        for tokens, *packing in zip(compressed, masks, packed, strict=True)
    ]
    return np.array(rows, dtype=np.int64).reshape(*ids.shape, hasher.offsets[layer].size)


@pytest.mark.parametrize(
    ("name", "layer", "multipliers"),
    [
        ("demo", 1, [76993395940407, 4862694818241, 36129212583461]),
        ("demo", 15, [29055444938695, 56284491166079, 54183298291715]),
        ("demo, layer 14", 14, [68036077441013, 51753666516433, 31067133107689]),
        ("v41", 1, [76632096046245, 4839876093313, 35959672319349, 73987337458391]),
        ("v41", 14, [67716810739261, 51510806800915, 30921347202721, 82619226485591]),
        ("small", 0, [12086977037832649, 17348714220006223, 14998821184058517, 4354653456305799]),
        ("small", 2, [4124647743356705, 6085881282312849, 3838979330435313, 14711996689629153]),
        ("small", 5, [951116319797637, 16278034304544977, 16773610582905873, 13447091133569027]),
    ],
)
def test_multipliers_are_those_of_the_published_models(name: str, layer: int, multipliers: list[int]) -> None:
    assert HASHERS[name].multipliers[layer].tolist() == multipliers
    assert HASHERS[name].multipliers[layer].dtype == np.int64


@pytest.mark.parametrize(
    ("name", "layer", "num_rows"),
    [
        ("demo", 1, 10_344_164),
        ("demo", 15, 10_348_242),
        ("v41", 1, 384_006_168),
        ("v41", 14, 384_016_682),
        ("small", 0, 14176),
        ("small", 2, 14544),
        ("small", 5, 14868),
    ],
)
def test_a_layer_has_as_many_rows_as_its_published_table(name: str, layer: int, num_rows: int) -> None:
    assert HASHERS[name].num_rows[layer] == num_rows


def test_the_first_heads_of_v41_have_the_first_primes_above_sixteen_million() -> None:
    first = [16000057, 16000079, 16000081, 16000097, 16000121, 16000129, 16000133, 16000183]

    assert HASHERS["v41"].primes[1][0].tolist() == first


@pytest.mark.parametrize(
    ("name", "primes"),
    [
        (
            "demo",
            {1: [(646403, 646523), (646537, 646619)], 15: [(646631, 646771), (646781, 646879)]},
        ),
        (
            "v41",
            {
                1: [(16000057, 16000183), (16000189, 16000321), (16000339, 16000463)],
                14: [(16000477, 16000627), (16000667, 16000769), (16000781, 16000889)],
            },
        ),
    ],
)
def test_the_heads_of_every_order_begin_and_end_with_the_published_primes(
    name: str, primes: dict[int, list[tuple[int, int]]]
) -> None:
    found = {layer: [(of[0], of[-1]) for of in sizes.tolist()] for layer, sizes in HASHERS[name].primes.items()}

    assert found == primes


@pytest.mark.parametrize("name", list(HASHERS))
def test_primes_and_multipliers_equal_those_found_by_trial_division_and_drawn_one_by_one(name: str) -> None:
    hasher, spec = HASHERS[name], HASHERS[name].spec

    primes = reference.find_primes(list(spec.layer_ids), list(spec.vocab_sizes), spec.heads)

    assert {layer: sizes.tolist() for layer, sizes in hasher.primes.items()} == primes
    for layer in spec.layer_ids:
        drawn = reference.draw_multipliers(spec.seed, layer, spec.max_ngram, int(hasher.token_map.max()) + 1)
        assert hasher.multipliers[layer].tolist() == drawn


def test_layers_take_primes_in_the_order_in_which_they_are_given() -> None:
    primes = {layer: sizes.tolist() for layer, sizes in HASHERS["crowded"].primes.items()}

    assert primes == {
        3: [[23, 29, 31], [37, 41, 43]],
        1: [[47, 53, 59], [61, 67, 71]],
        2: [[73, 79, 83], [89, 97, 101]],
    }


def test_shapes_and_offsets_are_those_of_one_flat_table_a_layer() -> None:
    hasher = HASHERS["v41"]

    assert hasher.multipliers[14].shape == (4,)
    assert hasher.primes[14].shape == (3, 8)
    assert hasher.offsets[14].shape == (24,)
    assert hasher.offsets[14][0] == 0
    assert hasher.offsets[14].tolist() == np.cumsum([0, *hasher.primes[14].ravel()[:-1]]).tolist()


@pytest.mark.parametrize(
    ("name", "layer", "plain", "packed"),
    [
        (
            "demo",
            15,
            "ec63ef4954a25659bcc7403f42e44e2ad24a9dab9d27b42d7c06d3586c47af26",
            "6a42daf968aa92bdd38be58dc02e225f1623d29ef163d623e8a84e86579d6408",
        ),
        (
            "v41",
            1,
            "74e9675c9dca220acce046432d09e22606c5dcebc03951414ea6cd5c46d93ce3",
            "865f3705d8bc8458790d8ae75d4e41dce58efc4fb57c14aec2dcea862014e6c6",
        ),
        (
            "small",
            2,
            "4c4cbf7a2b90b6b69b1b0414f5279f7f49afc976ed159bb49791b7ff2d0207df",
            "377a8e66cfd5e6c8a6fa28a9f0ef4b943c05c1d313a8795a99c178c53920abc4",
        ),
    ],
)
def test_rows_of_three_models_keep_their_digests(name: str, layer: int, plain: str, packed: str) -> None:
    hasher = HASHERS[name]
    ids = some_ids(len(hasher.token_map))

    assert sha256(hasher.rows(ids, layer)) == plain
    assert sha256(hasher.rows(ids, layer, mask=MASK, sequence_ids=DOCUMENTS)) == packed


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("documents", [None, DOCUMENTS])
@pytest.mark.parametrize("name", list(HASHERS))
def test_rows_equal_those_of_the_literal_hash(
    name: str, mask: NDArray[np.bool_] | None, documents: NDArray[np.int64] | None
) -> None:
    hasher = HASHERS[name]
    ids = some_ids(len(hasher.token_map))
    ids[1, 3:9] = hasher.spec.pad_id
    layer = hasher.spec.layer_ids[-1]

    rows = hasher.rows(ids, layer, mask=mask, sequence_ids=documents)

    np.testing.assert_array_equal(rows, reference_rows(hasher, layer, ids, mask, documents))


@pytest.mark.parametrize("name", list(HASHERS))
@pytest.mark.parametrize("lowest", [0, -100])
def test_large_batches_take_another_path_to_the_same_rows(name: str, lowest: int) -> None:
    hasher = HASHERS[name]
    layer = hasher.spec.layer_ids[0]
    ids = some_ids(len(hasher.token_map), batch=2, seq=5000)
    ids[:, ::3] = np.maximum(ids[:, ::3] - 100, lowest)

    rows = hasher.rows(ids, layer)

    pieces = rows_in_pieces(hasher, ids, layer, cuts=list(range(250, 5000, 250)))
    np.testing.assert_array_equal(rows, pieces)


def test_negative_ids_hash_as_the_numbers_they_are() -> None:
    hasher = HASHERS["small"]
    ids = np.array([[5, -1, 7, -100, -100, 3, 0, 639]])

    rows = hasher.rows(ids, 2)

    np.testing.assert_array_equal(rows, reference_rows(hasher, 2, ids))
    assert rows.min() >= 0


def test_a_negative_product_beyond_int64_wraps_as_it_does_in_the_published_program() -> None:
    hasher = NgramHasher(CROWDED, [0, 1, 2])
    ids = np.array([[-100, 2, -7, 1]])

    np.testing.assert_array_equal(hasher.rows(ids, 3), reference_rows(hasher, 3, ids))


def test_a_token_that_takes_no_part_hides_everything_before_it_for_good() -> None:
    hasher = HASHERS["v41"]
    ids, others = np.array([[10, 11, 12, 13, 14, 15, 16]]), np.array([[90, 91, 92, 13, 14, 15, 16]])
    mask = np.array([[True, True, False, True, True, True, True]])

    rows = hasher.rows(ids, 1, mask=mask)

    np.testing.assert_array_equal(rows[:, 2:], hasher.rows(others, 1, mask=mask)[:, 2:])
    np.testing.assert_array_equal(rows[:, 3:], hasher.rows(ids[:, 3:], 1))


def test_the_id_of_a_token_that_takes_no_part_is_never_read() -> None:
    hasher = HASHERS["small"]
    mask = np.array([[True, False, True]])

    rows = hasher.rows([[1, 10**9, 3]], 0, mask=mask)

    np.testing.assert_array_equal(rows, hasher.rows([[1, -1, 3]], 0, mask=mask))


def test_packed_documents_get_the_rows_they_get_alone() -> None:
    hasher = HASHERS["v41"]
    ids = np.array([[5, 6, 7, 8, 9, 5, 6, 7]])

    rows = hasher.rows(ids, 14, sequence_ids=[[1, 1, 1, 2, 2, 1, 1, 1]])

    alone = [hasher.rows(ids[:, part], 14) for part in (slice(0, 3), slice(3, 5), slice(5, 8))]
    np.testing.assert_array_equal(rows, np.concatenate(alone, axis=1))


SPECS = st.builds(
    lambda orders, **rest: HashSpec(max_ngram=len(orders) + 1, vocab_sizes=orders, **rest),
    orders=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    layer_ids=st.lists(st.integers(0, 40), min_size=1, max_size=3, unique=True),
    heads=st.integers(1, 3),
    pad_id=st.integers(0, 9),
    seed=st.integers(0, 2**32),
)


@settings(deadline=None)
@given(spec=SPECS, data=st.data())
def test_any_pieces_of_any_sequences_give_the_rows_of_the_whole(spec: HashSpec, data: st.DataObject) -> None:
    batch, seq = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 12))
    grid = st.lists(st.integers(0, 2**16), min_size=batch * seq, max_size=batch * seq)
    grid = grid.map(lambda numbers: np.array(numbers, dtype=np.int64).reshape(batch, seq))
    ids = data.draw(grid) % 13 - 3
    mask = data.draw(st.none() | grid.map(lambda numbers: numbers % 4 > 0))
    documents = data.draw(st.none() | grid.map(lambda numbers: numbers % 3))
    cuts = sorted(data.draw(st.lists(st.integers(0, seq), max_size=seq)))
    hasher = NgramHasher(spec, data.draw(st.lists(st.integers(0, 30), min_size=10, max_size=10)))
    layer = spec.layer_ids[-1]

    whole = hasher.rows(ids, layer, mask=mask, sequence_ids=documents)
    pieces = rows_in_pieces(hasher, ids, layer, cuts, mask=mask, sequence_ids=documents)

    np.testing.assert_array_equal(pieces, whole)
    np.testing.assert_array_equal(whole, reference_rows(hasher, layer, ids, mask, documents))


def test_a_sequence_fed_token_by_token_gives_the_rows_of_the_whole() -> None:
    hasher = HASHERS["v41"]
    ids = some_ids(129280)

    pieces = rows_in_pieces(hasher, ids, 1, cuts=list(range(1, 40)), mask=MASK, sequence_ids=DOCUMENTS)

    np.testing.assert_array_equal(pieces, hasher.rows(ids, 1, mask=MASK, sequence_ids=DOCUMENTS))


@pytest.mark.parametrize("shape", [(2, 0), (0, 5), (0, 0), (2, 1), (1, 2)])
def test_empty_and_very_short_sequences_are_hashed(shape: tuple[int, int]) -> None:
    ids = np.full(shape, 3)

    rows = HASHERS["v41"].rows(ids, 1)

    assert rows.shape == (*shape, 24)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, reference_rows(HASHERS["v41"], 1, ids))


def test_a_history_is_not_changed_by_its_use() -> None:
    hasher = HASHERS["small"]
    history = hasher.advance(None, [[4, 5, 6]])

    first = hasher.rows([[7, 8]], 0, history=history)
    hasher.advance(history, [[9]])

    np.testing.assert_array_equal(hasher.rows([[7, 8]], 0, history=history), first)


def test_a_history_made_without_sequence_ids_is_document_one() -> None:
    hasher = HASHERS["small"]
    history = hasher.advance(None, [[4, 5, 6]])

    same = hasher.rows([[7, 8]], 0, sequence_ids=[[1, 1]], history=history)
    other = hasher.rows([[7, 8]], 0, sequence_ids=[[2, 2]], history=history)

    np.testing.assert_array_equal(same, hasher.rows([[7, 8]], 0, history=history))
    np.testing.assert_array_equal(other, hasher.rows([[7, 8]], 0))


def test_a_history_made_with_sequence_ids_is_not_continued_without_them() -> None:
    history = HASHERS["small"].advance(None, [[4, 5]], sequence_ids=[[1, 1]])

    with pytest.raises(ValueError, match="made with sequence_ids"):
        HASHERS["small"].rows([[7]], 0, history=history)


def test_a_history_of_another_batch_is_refused() -> None:
    history = HASHERS["small"].advance(None, [[4, 5]])

    with pytest.raises(ValueError, match=r"\(2, 3\).*\(1, 3\)"):
        HASHERS["small"].rows([[7], [8]], 0, history=history)


@pytest.mark.parametrize(
    "other",
    [
        NgramHasher(DEMO, token_map(640, 477)),
        NgramHasher(replace(SMALL, seed=8), token_map(640, 477)),
        NgramHasher(SMALL, token_map(640, 476)),
    ],
)
def test_a_history_of_another_spec_or_token_map_is_refused_with_both(other: NgramHasher) -> None:
    history = HASHERS["small"].advance(None, [[4, 5]])

    for use in (lambda: other.rows([[7]], other.layer_ids[0], history=history), lambda: other.advance(history, [[7]])):
        with pytest.raises(ValueError, match=r"made by the engram family of HashSpec.*seed=7.*by the engram family of"):
            use()


def test_a_history_of_an_equal_hasher_is_continued() -> None:
    history = NgramHasher(replace(SMALL), token_map(640, 477)).advance(None, [[4, 5]])

    rows = HASHERS["small"].rows([[7]], 0, history=history)

    np.testing.assert_array_equal(rows, HASHERS["small"].rows([[4, 5, 7]], 0)[:, 2:])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.uint64, ">i4"])
def test_ids_of_any_integer_type_give_the_same_rows(dtype: str) -> None:
    ids = np.array([[1, 100, 7, 3]])

    rows = HASHERS["demo"].rows(ids.astype(dtype), 1, mask=ids != 7)

    np.testing.assert_array_equal(rows, HASHERS["demo"].rows(ids, 1, mask=ids != 7))


def test_an_id_beyond_the_token_map_is_refused_with_the_id_and_the_limit() -> None:
    with pytest.raises(IndexError, match=r"below 640.*got 640"):
        HASHERS["small"].rows([[1, 640]], 0)
    with pytest.raises(IndexError, match=rf"below 640.*got {2**63 + 5}"):
        HASHERS["small"].advance(None, np.array([[2**63 + 5]], dtype=np.uint64))


def test_a_layer_that_is_not_hashed_is_refused_with_those_that_are() -> None:
    with pytest.raises(KeyError, match=r"layer 3 .*\(0, 2, 5\)"):
        HASHERS["small"].rows([[1]], 3)
    with pytest.raises(KeyError, match=r"layer 3 .*\(0, 2, 5\)"):
        HASHERS["small"].fingerprint(3)


def test_inputs_of_the_wrong_shape_or_type_are_refused() -> None:
    hasher = HASHERS["small"]

    with pytest.raises(ValueError, match=r"\(batch, seq\), got \(3,\)"):
        hasher.rows([1, 2, 3], 0)
    with pytest.raises(TypeError, match="integers, got float64"):
        hasher.rows([[1.0]], 0)
    with pytest.raises(ValueError, match=r"token_ids must be a rectangle of integers \(batch, seq\)"):
        hasher.rows([[1, 2], [3]], 0)
    with pytest.raises(ValueError, match="mask must be a rectangle of booleans"):
        hasher.rows([[1, 2]], 0, mask=[[True], [True, True]])
    with pytest.raises(TypeError, match="history must be what `advance` returned, or None at the start, got 3"):
        hasher.rows([[1]], 0, history=3)
    with pytest.raises(TypeError, match="mask must be booleans, got int64"):
        hasher.rows([[1]], 0, mask=[[1]])
    with pytest.raises(ValueError, match=r"mask .*\(1, 1\), got \(1, 2\)"):
        hasher.rows([[1]], 0, mask=[[True, True]])
    with pytest.raises(ValueError, match=r"sequence_ids .*\(1, 1\), got \(1,\)"):
        hasher.rows([[1]], 0, sequence_ids=[1])


def test_a_token_map_that_is_not_one_is_refused() -> None:
    with pytest.raises(TypeError, match="got float64"):
        NgramHasher(CROWDED, [0.0])
    with pytest.raises(ValueError, match=r"got shape \(1, 2\)"):
        NgramHasher(CROWDED, [[0, 1]])
    with pytest.raises(ValueError, match="got -1"):
        NgramHasher(CROWDED, [0, -1])
    with pytest.raises(ValueError, match="below 2, the token map's length, got 2"):
        NgramHasher(replace(CROWDED, pad_id=2), [0, 1])


def test_later_changes_of_the_callers_token_map_change_no_rows() -> None:
    mapping = token_map(60, 50)
    hasher = NgramHasher(CROWDED, mapping)
    before = hasher.rows([[1, 2, 3]], 3)

    mapping[:] = 0

    np.testing.assert_array_equal(hasher.rows([[1, 2, 3]], 3), before)


def test_a_fingerprint_is_the_digest_that_its_description_says() -> None:
    map_bytes = b"".join(number.to_bytes(8, "little") for number in token_map(60, 50).tolist())
    line = (
        '{"compressed_pad_id":0,"family":"engram","heads":3,"layer":1,"max_ngram":3,'
        '"multipliers":[151872553228292665,9591860036772465,71266316989379275],'
        '"primes":[[47,53,59],[61,67,71]],'
        f'"token_map_sha256":"{hashlib.sha256(map_bytes).hexdigest()}"}}'
    )

    fingerprint = HASHERS["crowded"].fingerprint(1)

    assert fingerprint == "engram-v1:" + hashlib.sha256(line.encode()).hexdigest()
    assert fingerprint == "engram-v1:a563499b980c323de4ad400bb1e1f6e1d56b449f97450ade1df2743e86fa9ced"


def test_fingerprints_differ_wherever_rows_would() -> None:
    mapping = token_map(60, 50)
    swapped = mapping.copy()
    swapped[[7, 8]] = swapped[[8, 7]]
    hashers = [
        NgramHasher(CROWDED, mapping),
        NgramHasher(CROWDED, swapped),
        NgramHasher(CROWDED, np.append(mapping, 50)),
        NgramHasher(replace(CROWDED, layer_ids=(1, 2, 3)), mapping),
        NgramHasher(replace(CROWDED, vocab_sizes=(20, 200)), mapping),
        NgramHasher(replace(CROWDED, heads=2), mapping),
        NgramHasher(replace(CROWDED, pad_id=1), mapping),
        NgramHasher(replace(CROWDED, seed=1), mapping),
    ]

    fingerprints = {hasher.fingerprint(layer) for hasher in hashers for layer in (1, 2)}

    assert len(fingerprints) == 2 * len(hashers)


def test_a_client_that_loads_fewer_layers_has_the_same_fingerprint() -> None:
    alone = NgramHasher(replace(V41, layer_ids=(1,)), token_map(129280, 99092))

    assert alone.fingerprint(1) == HASHERS["v41"].fingerprint(1)


def test_orders_of_one_size_have_the_primes_above_it_one_after_the_other_however_many_heads_there_are():
    sizes = head_primes([1, 14], [64] * 255, 8)

    numbers = np.arange(50_000)
    is_prime = np.ones(len(numbers), bool)
    for divisor in range(2, 224):
        is_prime[2 * divisor :: divisor] = False
    found = np.concatenate([sizes[1].ravel(), sizes[14].ravel()])
    np.testing.assert_array_equal(found, numbers[is_prime & (numbers >= 64)][: len(found)])
