"""What a prefetcher does not take, and what it says then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engram_model import EngramState, Prefetcher, PrefetchSettings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.zeros(3, 3, dtype=torch.int64)}, "may ask for max_tokens = 8 tokens, got 9"),
        ({"states": {0: EngramState()}}, r"states must be given for the layers \[0, 2\], got \[0\]"),
        ({"deadlines": {0: 1.0, 1: 2.0}}, r"deadlines must be given for the layers \[0, 2\], got \[0, 1\]"),
        ({"input_ids": torch.zeros(3, dtype=torch.int64)}, r"token_ids must be of shape \(batch, seq\), got \(3,\)"),
    ],
)
def test_calls_that_make_no_sense_are_refused(config, make_remote, arguments, message):
    prefetcher = Prefetcher(make_remote(config).modules.values(), settings=PrefetchSettings(max_tokens=8))

    with pytest.raises(ValueError, match=message):
        prefetcher.prefetch(**{"input_ids": torch.zeros(1, 3, dtype=torch.int64), **arguments})
    assert prefetcher.stats().ring.in_use == 0


def test_layers_that_do_not_go_together_are_refused(config, make_remote):
    remote = make_remote(config)
    first = remote.modules[0]

    with pytest.raises(ValueError, match="got two of layer 0"):
        Prefetcher([first, first])
    other = make_remote(replace(config, num_hash_heads=1)).modules[2]
    with pytest.raises(ValueError, match=r"as many hash columns, got \[2, 4\]"):
        Prefetcher([first, other])
    with pytest.raises(ValueError, match=r"max_tokens is 8192, got 2 x 8192"):
        Prefetcher([first]).output(0, 2, 8192)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be above 0, got 0"),
        ({"timeout_seconds": 0}, "timeout_seconds must be above 0"),
        ({"slot_wait_seconds": -1}, "slot_wait_seconds must be above 0"),
        ({"num_slots": 0}, "num_slots must be at least 1, or None, got 0"),
        ({"late": "never"}, "late must be 'wait' or 'zero', got 'never'"),
        ({"deduplicate": True}, "deduplicate must be 'if_it_pays', 'always' or 'never', got True"),
    ],
)
def test_settings_out_of_their_limits_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PrefetchSettings(**settings)


def test_states_of_sequences_that_have_not_all_begun_cannot_be_joined(config, make_module):
    modules = [make_module(config), make_module(replace(config, seed=1))]
    ids = torch.zeros(1, 3, dtype=torch.int64)
    begun, fresh, other, packed = (EngramState() for _ in range(4))
    modules[0].row_ids(ids, state=begun)
    modules[1].row_ids(ids, state=other)
    modules[0].row_ids(ids, sequence_ids=torch.ones(1, 3, dtype=torch.int64), state=packed)

    with pytest.raises(ValueError, match="1 of 2 states have ids"):
        EngramState.join([begun, fresh])
    with pytest.raises(ValueError, match="states of one hash can be joined"):
        EngramState.join([begun, other])
    with pytest.raises(ValueError, match="1 of 2 states have sequence ids"):
        EngramState.join([begun, packed])
    with pytest.raises(IndexError):
        begun.select([1])
    assert EngramState.join([fresh, fresh]).history is None
    assert np.array_equal(EngramState.join([packed, packed]).history.documents, [1, 1])
