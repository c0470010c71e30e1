from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from engram_client.hashing import HashSpec

DEMO = HashSpec(layer_ids=(1, 15), max_ngram=3, heads=8, vocab_sizes=(646400, 646400), pad_id=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_ids": ()}, "at least one layer"),
        ({"layer_ids": (1, -2)}, "got -2"),
        ({"layer_ids": (1, 1)}, "distinct"),
        ({"max_ngram": 1}, "at least 2, got 1"),
        ({"max_ngram": 4}, "that is 3, got 2"),
        ({"heads": 0}, "at least 1, got 0"),
        ({"vocab_sizes": (5, 0)}, "got 0"),
        ({"vocab_sizes": (5, 2**41)}, f"{2**40}, got {2**41}"),
        ({"pad_id": -1}, "got -1"),
        ({"seed": -1}, "got -1"),
    ],
)
def test_a_spec_with_a_value_outside_its_limits_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DEMO, **change)


def test_a_spec_is_made_of_integers_and_does_not_change() -> None:
    spec = replace(DEMO, layer_ids=[np.int64(1), 15], vocab_sizes=np.array([646400, 646400]))

    assert spec == DEMO
    assert hash(spec) == hash(DEMO)
    with pytest.raises(FrozenInstanceError):
        spec.heads = 4
    with pytest.raises(TypeError, match=r"heads must be made of integers, got 8\.0"):
        replace(DEMO, heads=8.0)
