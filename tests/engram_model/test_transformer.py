"""The example decoder: all fetches first, then the blocks."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from support.held_table import HeldTable

from engram_model import TransformerWithEngram


@pytest.fixture
def make_decoder(config):
    def make(**options):
        torch.manual_seed(3)
        return TransformerWithEngram(config, **{"num_blocks": 3, "num_heads": 2, **options})

    return make


@pytest.fixture
def memories(make_decoder, store_of):
    """The tables of the decoder that `make_decoder` makes, in a store."""
    local = make_decoder()
    return {layer: store_of(local.engram(layer)) for layer in (0, 2)}


def test_every_fetch_is_under_way_before_the_first_block(make_decoder, memories, input_ids):
    events = []
    held = {layer: HeldTable(table, events) for layer, table in memories.items()}
    decoder = make_decoder(memories=held)
    decoder.embedding.register_forward_pre_hook(lambda *_: held[0].last.release())
    for index, block in enumerate(decoder.blocks):
        block.register_forward_pre_hook(lambda *_, index=index: events.append(("block", index)))
    decoder.blocks[1].register_forward_pre_hook(lambda *_: held[2].last.release())

    decoder(input_ids)

    assert events == [("prefetch", 0), ("prefetch", 2), ("block", 0), ("block", 1), ("block", 2)]
    assert [decoder.prefetcher.stats().layers[layer].late for layer in (0, 2)] == [0, 0]


def test_remote_tables_give_the_bits_of_local_ones(make_decoder, memories, input_ids):
    local, remote = make_decoder(), make_decoder(memories=memories)
    remote.load_state_dict({k: v for k, v in local.state_dict().items() if ".memory." not in k})

    expected, output = local(input_ids), remote(input_ids)

    assert torch.equal(output.hidden_states, expected.hidden_states)
    assert all(torch.equal(output.gating[layer], expected.gating[layer]) for layer in (0, 2))


def test_a_pass_tells_how_long_each_layer_waited(make_decoder, memories, input_ids):
    held = HeldTable(memories[2])
    held.answers_when_looked_for = True
    decoder = make_decoder(memories={2: held})

    output = decoder(input_ids)

    assert output.waited_seconds.keys() == {0, 2}
    assert output.waited_seconds[0] == 0.0
    assert output.waited_seconds[2] > 0.0
    assert output.waited_seconds[2] == decoder.prefetcher.stats().layers[2].waited_seconds


def test_a_decoder_that_has_run_can_be_copied(make_decoder, input_ids):
    decoder = make_decoder()
    expected = decoder(input_ids).hidden_states

    twin = copy.deepcopy(decoder)

    assert torch.equal(twin(input_ids).hidden_states, expected)
    assert twin.prefetcher is not decoder.prefetcher


@pytest.mark.parametrize("num_branches", [1, 2])
def test_hidden_states_gating_and_logits_have_their_shapes(config, input_ids, num_branches):
    decoder = TransformerWithEngram(replace(config, num_branches=num_branches), num_blocks=3, num_heads=2)

    output = decoder(input_ids)

    assert output.hidden_states.shape == (2, 11, 8)
    assert {layer: gating.shape for layer, gating in output.gating.items()} == dict.fromkeys(
        (0, 2), (2, 11, num_branches)
    )
    assert decoder.logits(output.hidden_states).shape == (2, 11, 50)


def test_a_token_changes_nothing_before_it(make_decoder, input_ids):
    decoder = make_decoder()
    changed = input_ids.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 50

    before, after = decoder(input_ids).hidden_states, decoder(changed).hidden_states

    torch.testing.assert_close(after[:, :6], before[:, :6])
    assert (after[:, 6:] != before[:, 6:]).any()


def test_documents_packed_into_a_row_give_what_they_give_alone(make_decoder, memories, input_ids):
    ids = input_ids[:1]
    packed = torch.tensor([[4] * 3 + [7] * 5 + [4] * 3])

    for decoder in (make_decoder(), make_decoder(memories=memories)):
        together = decoder(ids, packed).hidden_states

        alone = [decoder(ids[:, start:stop]).hidden_states for start, stop in ((0, 3), (3, 8), (8, 11))]
        torch.testing.assert_close(together, torch.cat(alone, dim=1))
        assert not torch.allclose(together, decoder(ids).hidden_states)


def test_gradients_reach_every_weight_and_both_tables(make_decoder, input_ids):
    decoder = make_decoder()

    output = decoder(input_ids)
    decoder.logits(output.hidden_states).square().sum().backward()

    assert [name for name, parameter in decoder.named_parameters() if parameter.grad is None] == []
    assert all(decoder.engram(layer).memory.table.weight.grad.any() for layer in (0, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_blocks": 2}, r"layer_ids must be below num_blocks 2, got \(0, 2\)"),
        ({"num_heads": 3}, "num_heads must divide hidden_dim 8, got 3"),
        ({"memories": {1: None}}, r"memories must be for the layers \(0, 2\), got one for \[1\]"),
    ],
)
def test_a_decoder_that_does_not_fit_together_is_refused(make_decoder, options, message):
    with pytest.raises(ValueError, match=message):
        make_decoder(**options)
