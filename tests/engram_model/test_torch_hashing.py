"""The torch hashes give the integers of the NumPy hashes, in any pieces, compiled or not."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

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
from engram_model.torch_hashing import TorchHasher

TOKEN_MAP = np.arange(30) * 7 % 23
V41 = NgramHasher(
    HashSpec(layer_ids=(1, 14), max_ngram=4, heads=8, vocab_sizes=(16_000_000,) * 3, pad_id=2),
    np.arange(129_280) * 7919 % 99_092,
)
HASHERS = {
    "engram": NgramHasher(
        HashSpec(layer_ids=(1, 0), max_ngram=4, heads=2, vocab_sizes=(50, 60, 40), pad_id=2), TOKEN_MAP
    ),
    "qwen-ple": QwenPleHasher(QwenPleSpec(layer_ids=(4, 1), vocab_size=30, eos_id=9, heads=3, head_rows=50)),
    "longcat": LongcatHasher(LongcatSpec(vocab_size=30, eos_id=9, max_ngram=4, heads=2, base_rows=78)),
    "study": StudyHasher(StudySpec(table_size=97, layer_ids=(0, 3), min_ngram=1, heads=3), TOKEN_MAP),
}
LOWEST = {"engram": -3, "qwen-ple": 0, "longcat": -2, "study": 0}
TORCH_HASHERS = {family: TorchHasher(hasher) for family, hasher in HASHERS.items()}


def tensors(arrays: dict[str, np.ndarray | None]) -> dict[str, torch.Tensor | None]:
    return {name: None if array is None else torch.from_numpy(array.copy()) for name, array in arrays.items()}


@pytest.mark.parametrize("family", list(HASHERS))
@settings(max_examples=50)
@given(data=st.data())
def test_any_pieces_give_the_integers_of_numpy(family: str, data: st.DataObject) -> None:
    batch, seq = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 10))
    grid = st.lists(st.integers(0, 2**16), min_size=batch * seq, max_size=batch * seq)
    grid = grid.map(lambda numbers: np.array(numbers, dtype=np.int64).reshape(batch, seq))
    ids = data.draw(grid) % 14 + LOWEST[family]
    mask = data.draw(st.none() | grid.map(lambda numbers: numbers % 4 > 0))
    documents = data.draw(st.none() | grid.map(lambda numbers: numbers % 3))
    cuts = sorted(data.draw(st.lists(st.integers(0, seq), max_size=seq)))
    hasher, torch_hasher = HASHERS[family], TORCH_HASHERS[family]
    layer = data.draw(st.sampled_from(hasher.layer_ids))

    history, pieces = None, []
    for start, stop in pairwise([0, *cuts, seq]):
        piece = {"mask": mask, "sequence_ids": documents}
        piece = tensors({name: None if array is None else array[:, start:stop] for name, array in piece.items()})
        part = torch.from_numpy(ids[:, start:stop].copy())
        pieces.append(torch_hasher.rows(part, layer, history=history, **piece))
        history = torch_hasher.advance(history, part, **piece)

    expected = hasher.rows(ids, layer, mask=mask, sequence_ids=documents)
    rows = torch.cat(pieces, dim=1)
    assert rows.dtype == torch.int64
    np.testing.assert_array_equal(rows.numpy(), expected)
    last = hasher.advance(None, ids, mask=mask, sequence_ids=documents)
    np.testing.assert_array_equal(history.tokens.numpy(), last.tokens)


@settings(max_examples=30)
@given(ids=st.lists(st.integers(-200, 129_279), min_size=1, max_size=60), layer=st.sampled_from([1, 14]))
def test_ids_of_the_real_size_and_negative_ones_give_the_integers_of_numpy(ids: list[int], layer: int) -> None:
    rows = TorchHasher(V41)(torch.tensor([ids]), layer)

    np.testing.assert_array_equal(rows.numpy(), V41.rows([ids], layer))


@pytest.mark.parametrize("family", list(HASHERS))
def test_compiled_code_has_no_graph_break_and_the_same_integers(family: str) -> None:
    hasher, torch_hasher = HASHERS[family], TORCH_HASHERS[family]
    layer = hasher.layer_ids[0]
    ids = torch.arange(24).reshape(2, 12)
    packing = {"mask": ids % 5 != 3, "sequence_ids": 1 + ids // 7}

    def step(ids, history, mask, sequence_ids):
        rows = torch_hasher.rows(ids, layer, mask=mask, sequence_ids=sequence_ids, history=history)
        return rows, torch_hasher.advance(history, ids, mask=mask, sequence_ids=sequence_ids)

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    first = {name: values[:, :6] for name, values in packing.items()}
    rest = {name: values[:, 6:] for name, values in packing.items()}
    rows_before, history = compiled(ids[:, :6], None, **first)
    rows_after, _ = compiled(ids[:, 6:], history, **rest)

    expected = hasher.rows(ids.numpy(), layer, **{name: values.numpy() for name, values in packing.items()})
    np.testing.assert_array_equal(torch.cat([rows_before, rows_after], dim=1).numpy(), expected)


@pytest.mark.parametrize("family", list(HASHERS))
def test_nothing_is_read_back_from_the_device(family: str) -> None:
    on_no_device = TorchHasher(HASHERS[family]).to("meta")  # where reading any value is an error
    ids = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    packing = {"mask": ids == 0, "sequence_ids": ids}

    history = on_no_device.advance(None, ids, **packing)
    rows = on_no_device.rows(ids, HASHERS[family].layer_ids[0], history=history, **packing)

    assert rows.shape == (2, 5, HASHERS[family].columns)


def test_ids_without_values_are_hashed_too() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        rows = TORCH_HASHERS["engram"].rows(torch.zeros(2, 5, dtype=torch.int64), 1)

    assert rows.shape == (2, 5, HASHERS["engram"].columns)


@pytest.mark.parametrize("family", list(HASHERS))
def test_a_stream_begun_in_numpy_goes_on_in_torch(family: str) -> None:
    hasher, torch_hasher = HASHERS[family], TORCH_HASHERS[family]
    layer = hasher.layer_ids[0]
    history = torch_hasher.history_from(hasher.advance(None, [[1, 2, 3]], sequence_ids=[[1, 1, 1]]))

    rows = torch_hasher.rows(torch.tensor([[4]]), layer, sequence_ids=torch.tensor([[1]]), history=history)

    np.testing.assert_array_equal(rows.numpy(), hasher.rows([[1, 2, 3, 4]], layer)[:, 3:])


def test_a_history_of_another_hasher_or_batch_is_refused() -> None:
    engram, study = TORCH_HASHERS["engram"], TORCH_HASHERS["study"]
    history = study.advance(None, torch.tensor([[1, 2]]))

    with pytest.raises(ValueError, match="made by the study family of .* by the engram family of"):
        engram.rows(torch.tensor([[3]]), 1, history=history)
    with pytest.raises(ValueError, match="made by the study family of .* by the engram family of"):
        engram.history_from(HASHERS["study"].advance(None, [[1, 2]]))
    with pytest.raises(ValueError, match=r"\(2, 3\) tokens, got \(1, 3\)"):
        study.rows(torch.tensor([[3], [4]]), 0, history=history)


def test_a_history_made_with_sequence_ids_is_not_continued_without_them() -> None:
    hasher = TORCH_HASHERS["engram"]
    history = hasher.advance(None, torch.tensor([[1, 2]]), sequence_ids=torch.tensor([[1, 1]]))

    with pytest.raises(ValueError, match="made with sequence_ids"):
        hasher.rows(torch.tensor([[3]]), 1, history=history)


def test_inputs_of_the_wrong_shape_or_type_and_unknown_layers_are_refused() -> None:
    hasher, ids = TORCH_HASHERS["engram"], torch.tensor([[1, 2, 3]])

    with pytest.raises(KeyError, match="layer 9 is not hashed"):
        hasher.rows(ids, 9)
    with pytest.raises(ValueError, match=r"\(batch, seq\), got \(3,\)"):
        hasher.rows(ids[0], 1)
    with pytest.raises(TypeError, match=r"integers, got torch\.float32"):
        hasher.rows(ids.float(), 1)
    with pytest.raises(TypeError, match=r"mask must be booleans, got torch\.int64"):
        hasher.rows(ids, 1, mask=ids)
    with pytest.raises(ValueError, match=r"mask .*\(1, 3\), got \(1, 2\)"):
        hasher.rows(ids, 1, mask=ids[:, 1:] > 0)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("family", list(HASHERS))
def test_ids_that_numpy_refuses_are_refused_compiled_or_not_unless_they_are_masked(family: str, compiled: bool) -> None:
    hasher, layer = HASHERS[family], HASHERS[family].layer_ids[0]
    rows = TORCH_HASHERS[family].rows
    if compiled:
        torch.compiler.reset()
        rows = torch.compile(rows, backend="eager", fullgraph=True)
    everything, mask = np.array([[True] * 3]), np.array([[True, False, True]])

    for refused in [30, 2**40] + ([] if LOWEST[family] else [-1, -30]):
        ids = np.array([[1, refused, 2]])
        with pytest.raises(IndexError, match="token ids must") as caught:
            hasher.rows(ids, layer)
        said = "out of bounds|out of range" if compiled else f"^{re.escape(str(caught.value))}$"
        with pytest.raises(IndexError, match=said):
            rows(torch.from_numpy(ids), layer, mask=torch.from_numpy(everything))
        masked = rows(torch.from_numpy(ids), layer, mask=torch.from_numpy(mask))
        np.testing.assert_array_equal(masked.numpy(), hasher.rows(ids, layer, mask=mask))


def test_a_hasher_in_a_model_saves_nothing() -> None:
    assert TORCH_HASHERS["engram"].state_dict() == {}
    assert list(TORCH_HASHERS["engram"].parameters()) == []
