"""The buffers in which a layer's rows are handed over: where they stand, and how long they hold."""

from __future__ import annotations

import pytest
import torch

from engram_model import Prefetcher, PrefetchSettings


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def test_the_output_of_a_layer_stays_at_its_address_until_its_next_turn(config, make_remote, input_ids):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values(), settings=PrefetchSettings(max_tokens=64))
    output = prefetcher.output(2, 2, 11)

    for ids in (input_ids, input_ids.flip(0), input_ids[:1], input_ids):
        pending = prefetcher.prefetch(ids)
        embeddings = pending[2].wait()
        pending.discard()

        assert embeddings.data_ptr() == output.data_ptr() == pending[2].wait().data_ptr()
    assert torch.equal(output, remote.local[2].prefetch_embeddings(input_ids).wait())


def test_embeddings_that_were_overwritten_are_not_handed_out_again(config, make_remote, input_ids):
    prefetcher = Prefetcher(make_remote(config).modules.values())
    first, second = prefetcher.prefetch(input_ids), prefetcher.prefetch(input_ids.flip(0))
    first[0].wait()
    second[0].wait()

    with pytest.raises(RuntimeError, match="its output buffer holds those of a later call"):
        first[0].wait()


def test_gradients_keep_what_the_layers_read(config, make_remote, input_ids, hidden_states):
    remote = make_remote(config)
    prefetcher = Prefetcher(remote.modules.values())
    module, own = remote.modules[0], remote.local[0]

    with torch.enable_grad():
        calls = [(ids, prefetcher.prefetch(ids)[0]) for ids in (input_ids, input_ids.flip(0))]
        results = [(ids, module(hidden_states, memory_embeddings=pending)[0]) for ids, pending in calls]
        sum(updated.square().sum() for _, updated in results).backward()
        sum(own(hidden_states, ids)[0].square().sum() for ids, _ in results).backward()

    assert torch.equal(module.value_proj.weight.grad, own.value_proj.weight.grad)


def test_outputs_made_in_inference_mode_can_be_written_outside_of_it(config, make_remote, input_ids):
    remote = make_remote(config)
    with torch.inference_mode():
        prefetcher = Prefetcher(remote.modules.values())
        prefetcher.prefetch(input_ids)[0].wait()

    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    assert torch.equal(embeddings, remote.local[0].prefetch_embeddings(input_ids).wait())
