"""One call for all layers gives the very bits that each layer looks up itself, in every form and any pieces."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from engram_client.errors import InvalidBuffer, RowOutOfRange, Unavailable
from engram_model import EngramState, MemoryMismatch, Prefetcher, PrefetchSettings, RingFull

LENGTH = 11
PIECES = [slice(0, 4), slice(4, 5), slice(5, 6), slice(6, 6), slice(6, LENGTH)]


def tokens(config, batch=2):
    """Hidden states, ids, a mask that hides a third of them, and documents with padding at the end."""
    hidden_states = torch.randn(batch, LENGTH, config.num_branches, config.hidden_dim)
    sequence_ids = torch.arange(LENGTH).div(4, rounding_mode="floor").add(1).repeat(batch, 1)
    sequence_ids[:, -1] = 0
    return (
        hidden_states,
        torch.randint(0, config.vocab_size, (batch, LENGTH)),
        torch.rand(batch, LENGTH) < 0.67,
        sequence_ids,
    )


def new_states(modules):
    return {layer: EngramState() for layer in modules}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("packed", [False, True])
def test_pieces_give_the_bits_of_layers_that_look_up_themselves(form, make_remote, packed):
    remote = make_remote(form)
    prefetcher = Prefetcher(remote.modules.values())
    hidden_states, input_ids, mask, sequence_ids = tokens(form)
    states, own_states = new_states(remote.modules), new_states(remote.modules)

    for piece in PIECES:
        packing = {"sequence_ids": sequence_ids[:, piece]} if packed else {}
        pending = prefetcher.prefetch(input_ids[:, piece], mask[:, piece], states=states, **packing)
        for layer, module in remote.modules.items():
            arguments = {"mask": mask[:, piece], "return_gating": True, **packing}
            updated, gating = module(
                hidden_states[:, piece], memory_embeddings=pending[layer], state=states[layer], **arguments
            )
            expected, expected_gating = remote.local[layer](
                hidden_states[:, piece], input_ids[:, piece], state=own_states[layer], **arguments
            )

            assert torch.equal(updated, expected)
            assert torch.equal(gating, expected_gating)


@pytest.mark.parametrize("row_format", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_embeddings_have_the_data_type_of_the_layer_by_now(config, make_remote, input_ids, row_format, dtype):
    remote = make_remote(config, row_format=row_format)
    prefetcher = Prefetcher(remote.modules.values())

    pending = prefetcher.prefetch(input_ids)
    remote.modules[2].to(dtype)
    remote.local[2].to(dtype)

    expected = remote.local[2].prefetch_embeddings(input_ids).wait()
    assert pending[2].wait().dtype == dtype
    assert torch.equal(pending[2].wait(), expected)


def test_layers_are_sent_in_the_order_of_their_turns_and_with_a_time_limit(config, make_remote, input_ids):
    remote = make_remote(replace(config, layer_ids=(2, 0)))
    prefetcher = Prefetcher(remote.modules.values(), settings=PrefetchSettings(timeout_seconds=3.5, num_slots=4))

    prefetcher.prefetch(input_ids)
    prefetcher.prefetch(input_ids, deadlines={0: 0.2, 2: 0.1})

    assert remote.log == [("prefetch", layer) for layer in (0, 2, 2, 0)]
    assert {fetch.timeout for table in remote.tables.values() for fetch in table.fetches} == {3.5}


def test_replies_may_come_in_any_order(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values())
    others = input_ids.flip(0)

    calls = [(ids, prefetcher.prefetch(ids)) for ids in (input_ids, others)]
    for layer, number in [(2, 1), (0, 1), (2, 0), (0, 0)]:
        remote.tables[layer].fetches[number].release()

    for ids, pending in calls:
        for layer in pending:
            assert torch.equal(pending[layer].wait(), remote.local[layer].prefetch_embeddings(ids).wait())


def test_a_prefetcher_and_a_call_say_where_they_stand_when_they_are_printed(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values(), settings=PrefetchSettings(max_tokens=64))

    pending = prefetcher.prefetch(input_ids)
    remote.tables[2].fetches[0].release()

    assert repr(pending) == "PrefetchedLayers(layers=[0, 2], done=[2])"
    assert repr(prefetcher) == (
        "Prefetcher(layers=[0, 2], in_store=[0, 2], num_slots=4, slots_in_use=2, max_tokens=64)"
    )


def test_a_layer_with_a_table_of_its_own_is_passed_through(config, make_remote):
    remote = make_remote(config)
    modules = {0: remote.local[0], 2: remote.modules[2]}
    prefetcher = Prefetcher(modules.values())
    hidden_states, input_ids, _, _ = tokens(config)
    states, own_states = new_states(modules), new_states(modules)

    for piece in PIECES:
        pending = prefetcher.prefetch(input_ids[:, piece], states=states)
        for layer in (0, 2):
            updated, _ = modules[layer](hidden_states[:, piece], memory_embeddings=pending[layer], state=states[layer])
            own = remote.local[layer](hidden_states[:, piece], input_ids[:, piece], state=own_states[layer])
            assert torch.equal(updated, own[0])
    assert remote.log == [("prefetch", 2)] * len(PIECES)


def test_layers_may_stand_at_different_pasts(config, make_remote, input_ids):
    remote = make_remote(config)
    states, own_states = new_states(remote.modules), new_states(remote.modules)
    for layer, module in remote.modules.items():
        for state in (states[layer], own_states[layer]):
            module.row_ids(input_ids.roll(layer, dims=1), state=state)

    pending = Prefetcher(remote.modules.values()).prefetch(input_ids[:, :1], states=states)

    for layer, module in remote.local.items():
        expected = module.prefetch_embeddings(input_ids[:, :1], state=own_states[layer]).wait()
        assert torch.equal(pending[layer].wait(), expected)
        assert torch.equal(states[layer].history.tokens, own_states[layer].history.tokens)


def test_sequences_may_join_and_leave_between_decode_steps(form, make_remote):
    remote = make_remote(form)
    prefetcher = Prefetcher(remote.modules.values())
    hidden_states, input_ids, _, _ = tokens(form, batch=3)
    expected = {
        layer: module(hidden_states, input_ids, state=EngramState())[0] for layer, module in remote.local.items()
    }

    def run(states, sequences, piece):
        pending = prefetcher.prefetch(input_ids[sequences, piece], states=states)
        for layer, module in remote.modules.items():
            updated, _ = module(hidden_states[sequences, piece], memory_embeddings=pending[layer], state=states[layer])
            torch.testing.assert_close(updated, expected[layer][sequences, piece], rtol=1e-6, atol=1e-6)

    early, late = new_states(remote.modules), new_states(remote.modules)
    run(early, [0, 1], slice(0, 4))
    run(late, [2], slice(0, 4))
    all_three = {layer: EngramState.join([early[layer], late[layer]]) for layer in early}
    run(all_three, [0, 1, 2], slice(4, 5))
    run({layer: state.select([2, 0]) for layer, state in all_three.items()}, [2, 0], slice(5, 6))


def test_discarded_tokens_leave_their_buffers_and_a_copy_of_the_states_is_the_mark_to_come_back_to(config, make_remote):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values(), settings=PrefetchSettings(num_slots=2, slot_wait_seconds=0.01))
    hidden_states, input_ids, _, _ = tokens(config)
    states, own_states = new_states(remote.modules), new_states(remote.modules)

    for piece, guess in [(slice(0, 4), slice(7, 9)), (slice(4, 6), slice(2, 3)), (slice(6, LENGTH), slice(0, 4))]:
        marks = {layer: copy.copy(state) for layer, state in states.items()}
        guessed = prefetcher.prefetch(input_ids[:, guess], states=states)
        guesses = {layer: table.last for layer, table in remote.tables.items()}
        guessed.discard()
        states = marks
        pending = prefetcher.prefetch(input_ids[:, piece], states=states)
        for layer, module in remote.modules.items():
            guesses[layer].release()  # too late
            remote.tables[layer].last.release()
            updated, _ = module(hidden_states[:, piece], memory_embeddings=pending[layer], state=states[layer])
            own = remote.local[layer](hidden_states[:, piece], input_ids[:, piece], state=own_states[layer])
            assert torch.equal(updated, own[0])
        assert all(fetch.cancelled for fetch in guesses.values())
        with pytest.raises(RuntimeError, match="the rows of layer 0 were discarded"):
            guessed[0].wait()

    assert prefetcher.stats().layers[0].discarded == 3
    assert prefetcher.stats().ring.in_use == 0


def test_what_no_layer_took_is_discarded_at_the_end_of_a_block(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values())

    with prefetcher.prefetch(input_ids) as pending:
        remote.tables[0].last.release()
        pending[0].wait()

    assert not remote.tables[0].last.cancelled
    assert remote.tables[2].last.cancelled
    assert prefetcher.stats().ring.in_use == 0


def test_a_call_that_cannot_be_sent_ends_what_it_sent_and_leaves_the_states(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values())
    states = new_states(remote.modules)
    prefetcher.prefetch(input_ids, states=states)
    before = {layer: state.history for layer, state in states.items()}

    class Refuses(type(remote.tables[2])):
        def prefetch(self, _ids, **_):
            raise RowOutOfRange("no such row")

    remote.tables[2].__class__ = Refuses
    with pytest.raises(RowOutOfRange):
        prefetcher.prefetch(input_ids, states=states)

    assert remote.tables[0].last.cancelled
    assert {layer: state.history for layer, state in states.items()} == before
    assert prefetcher.stats().ring.in_use == 2


def test_a_call_that_cannot_be_sent_leaves_the_states_of_layers_with_tables_of_their_own(
    config, make_remote, input_ids
):
    remote = make_remote(config, held=True)
    modules = [remote.local[0], remote.modules[2]]
    prefetcher = Prefetcher(modules, settings=PrefetchSettings(num_slots=1, slot_wait_seconds=0.001))
    states = {0: EngramState(), 2: EngramState()}
    prefetcher.prefetch(input_ids)

    with pytest.raises(RingFull):
        prefetcher.prefetch(input_ids, states=states)

    assert [state.history for state in states.values()] == [None, None]


def test_a_failed_fetch_fails_its_layer_and_frees_the_buffer(config, make_remote, input_ids, hidden_states):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values())
    pending = prefetcher.prefetch(input_ids)

    remote.tables[0].last.fail(Unavailable("no node"))
    remote.tables[2].last.release()

    for _ in range(2):
        with pytest.raises(Unavailable, match="no node"):
            remote.modules[0](hidden_states, memory_embeddings=pending[0])
    assert torch.equal(pending[2].wait(), remote.local[2].prefetch_embeddings(input_ids).wait())
    assert prefetcher.stats().layers[0].failed == 1
    assert prefetcher.stats().ring.in_use == 0


@pytest.mark.parametrize("refuses", [True, False])
def test_a_table_that_moves_while_it_is_asked_is_asked_again(config, make_remote, input_ids, refuses):
    remote = make_remote(config)
    table, wide = remote.tables[0], remote.tables[0].rows
    narrow = torch.from_numpy(wide.copy()).view(torch.float32).bfloat16()

    class MovesOnce(type(table)):
        def prefetch(self, ids, *, out, timeout):
            moves = self.row_format == "float32"
            if not (moves and refuses):
                pending = super().prefetch(ids, out=out, timeout=timeout)
            if moves:
                self.rows, self.row_format, self.row_bytes = narrow.view(torch.uint8).numpy(), "bfloat16", 8
            if moves and refuses:
                raise InvalidBuffer("out is of the old width")
            return pending

    prefetcher = Prefetcher(remote.modules.values())
    table.__class__ = MovesOnce
    embeddings = prefetcher.prefetch(input_ids)[0].wait()

    expected = narrow[torch.from_numpy(remote.modules[0].row_ids(input_ids))].flatten(-2).float()
    assert torch.equal(embeddings, expected)
    table.fingerprint = ""
    table.num_rows = 7
    with pytest.raises(MemoryMismatch):
        prefetcher.prefetch(input_ids)
    assert prefetcher.stats().ring.in_use == 1  # layer 2 of the first call


def test_figures_tell_what_was_fetched_and_hidden(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    prefetcher = Prefetcher(remote.modules.values())

    pending = prefetcher.prefetch(input_ids)
    remote.tables[0].last.release()
    pending[0].wait()
    remote.tables[2].answers_when_looked_for = True
    pending[2].wait()

    stats = prefetcher.stats()
    early, late = stats.layers[0], stats.layers[2]
    assert (early.fetches, early.rows, early.bytes, early.turns) == (1, 88, 88 * 16, 1)
    assert (early.late, early.waited_seconds, late.late) == (0, 0.0, 1)
    assert early.hidden_seconds > 0
    assert late.waited_seconds == pending[2].waited_seconds > 0
    assert (stats.ring.num_slots, stats.ring.most_in_use, stats.ring.in_use) == (4, 2, 0)
    assert stats.as_dict()["layers"][2]["late"] == 1
