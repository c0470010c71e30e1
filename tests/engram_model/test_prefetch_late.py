"""Rows that come late, or never: the layer waits, or passes its input through unchanged, and either is counted."""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch

from engram_client import BlockingStore, Store, TableInfo
from engram_client.errors import ProtocolError, TimeLimitExceeded, Unavailable
from engram_model import EngramModule, EngramState, Prefetcher, PrefetchSettings, RowsLate, TransformerWithEngram


class BusyTransport:
    """Keeps the store's thread busy from the first fetch until `may_go_on` is set, as a disk may; no fetch ends."""

    def __init__(self, tables):
        self._tables = tables
        self.is_busy, self.may_go_on = threading.Event(), threading.Event()

    async def get_table(self, name, _version, _timeout):
        table = self._tables[name]
        return TableInfo(
            name=name,
            version="v1",
            num_rows=table.num_rows,
            row_bytes=table.row_bytes,
            row_format=table.row_format,
            fingerprint=table.fingerprint,
            backend="fake",
            max_rows_per_lookup=1000,
        )

    async def fetch(self, *_):
        self.is_busy.set()
        self.may_go_on.wait(60)
        await asyncio.Event().wait()

    async def close(self):
        self.may_go_on.set()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def prefetcher_of():
    def make(remote, **settings):
        return Prefetcher(remote.modules.values(), settings=PrefetchSettings(**settings))

    return make


def test_a_layer_waits_for_late_rows(config, make_remote, prefetcher_of, input_ids, hidden_states):
    remote = make_remote(config, held=True)
    prefetcher = prefetcher_of(remote)
    pending = prefetcher.prefetch(input_ids)

    remote.tables[2].answers_when_looked_for = True
    updated, _ = remote.modules[2](hidden_states, memory_embeddings=pending[2])

    assert torch.equal(updated, remote.local[2](hidden_states, input_ids)[0])
    assert prefetcher.stats().layers[2].late == 1
    assert prefetcher.stats().layers[2].waited_seconds > 0


def test_rows_are_given_up_when_the_caller_waits_no_longer(config, make_remote, prefetcher_of, input_ids):
    remote = make_remote(config, held=True)
    prefetcher = prefetcher_of(remote, timeout_seconds=1e6)
    pending = prefetcher.prefetch(input_ids)
    given_up = remote.tables[0].last

    for _ in range(2):
        with pytest.raises(TimeLimitExceeded, match="the fetch is given up"):
            pending[0].wait(timeout=0.01)

    assert given_up.cancelled
    assert pending[0].done()
    assert not pending[2].done()
    assert prefetcher.stats().ring.in_use == 1


def test_a_fetch_that_breaks_its_own_time_limit_is_given_up(config, make_remote, prefetcher_of, input_ids):
    remote = make_remote(config, held=True)
    pending = prefetcher_of(remote, timeout_seconds=1e-6).prefetch(input_ids)

    with pytest.raises(TimeLimitExceeded, match="The settings' timeout_seconds is its limit"):
        pending[0].wait()


@pytest.mark.parametrize("masked", [False, True])
def test_a_late_layer_passes_its_input_through_if_told_so(form, make_remote, prefetcher_of, input_ids, masked):
    remote = make_remote(form, held=True)
    prefetcher = prefetcher_of(remote, late="zero")
    layer, module = next(iter(remote.modules.items()))
    hidden_states = torch.randn(2, 11, form.num_branches, form.hidden_dim)
    arguments = (
        {"mask": torch.rand(2, 11) < 0.5, "sequence_ids": torch.ones(2, 11, dtype=torch.int64)} if masked else {}
    )

    pending = prefetcher.prefetch(input_ids, **arguments)
    updated, gating = module(hidden_states, memory_embeddings=pending[layer], return_gating=True, **arguments)
    late_reply = remote.tables[layer].last
    late_reply.release()

    assert torch.equal(updated, hidden_states)
    assert torch.equal(gating, torch.zeros(2, 11, form.num_branches))
    assert late_reply.cancelled
    stats = prefetcher.stats().layers[layer]
    assert (stats.turns, stats.late, stats.passed_through, stats.waited_seconds) == (1, 1, 1, 0.0)
    with pytest.raises(RowsLate, match=f"the rows of layer {layer} are not there at its turn"):
        pending[layer].wait()


def test_a_late_layer_does_not_wait_for_the_end_of_its_fetch_either(config, make_remote, prefetcher_of, input_ids):
    remote = make_remote(config)
    transport = BusyTransport({str(layer): table for layer, table in remote.tables.items()})
    with BlockingStore(Store(transport, 60.0)) as store:
        modules = {layer: EngramModule(config, layer_id=layer, memory=store.table(str(layer))) for layer in (0, 2)}
        prefetcher = Prefetcher(modules.values(), settings=PrefetchSettings(num_slots=2, late="zero"))
        pending = prefetcher.prefetch(input_ids)
        assert transport.is_busy.wait(60)

        with pytest.raises(RowsLate):
            pending[0].wait()
        pending.discard()

        assert prefetcher.stats().ring.in_use == 2
        transport.may_go_on.set()
        prefetcher.prefetch(input_ids).discard()  # as soon as the store has come to ending the fetches


def test_rows_in_time_are_used_whatever_the_policy(config, make_remote, prefetcher_of, input_ids, hidden_states):
    remote = make_remote(config)
    prefetcher = prefetcher_of(remote, late="zero")

    updated, _ = remote.modules[0](hidden_states, memory_embeddings=prefetcher.prefetch(input_ids)[0])

    assert torch.equal(updated, remote.local[0](hidden_states, input_ids)[0])
    assert prefetcher.stats().layers[0].passed_through == 0


def test_tokens_after_a_late_piece_see_it_as_one_without_memories(form, make_remote, prefetcher_of, input_ids):
    remote = make_remote(form, held=True)
    prefetcher = prefetcher_of(remote, late="zero")
    layer, module = next(iter(remote.modules.items()))
    hidden_states = torch.randn(2, 11, form.num_branches, form.hidden_dim)
    states, own = {each: EngramState() for each in remote.modules}, EngramState()
    nothing = torch.zeros(2, 4, dtype=torch.bool)

    for piece, is_late in [(slice(0, 3), False), (slice(3, 7), True), (slice(7, 11), False)]:
        pending = prefetcher.prefetch(input_ids[:, piece], states=states)
        if not is_late:
            remote.tables[layer].last.release()
        updated, _ = module(hidden_states[:, piece], memory_embeddings=pending[layer], state=states[layer])
        embeddings = remote.local[layer].prefetch_embeddings(input_ids[:, piece], state=own)
        mask = nothing if is_late else None  # closed gates add nothing to what the convolution keeps
        expected, _ = remote.local[layer](hidden_states[:, piece], memory_embeddings=embeddings, mask=mask, state=own)

        assert torch.equal(updated, hidden_states[:, piece] if is_late else expected)
        pending.discard()


@pytest.mark.parametrize("error", [Unavailable("no node"), TimeLimitExceeded("too slow")])
def test_a_store_that_cannot_be_reached_counts_as_late(
    config, make_remote, prefetcher_of, input_ids, hidden_states, error
):
    remote = make_remote(config, held=True)
    prefetcher = prefetcher_of(remote, late="zero")
    pending = prefetcher.prefetch(input_ids)

    remote.tables[0].last.fail(error)
    updated, _ = remote.modules[0](hidden_states, memory_embeddings=pending[0])

    assert torch.equal(updated, hidden_states)
    stats = prefetcher.stats().layers[0]
    assert (stats.late, stats.failed, stats.passed_through) == (0, 1, 1)


def test_other_failures_are_never_passed_over(config, make_remote, prefetcher_of, input_ids, hidden_states):
    remote = make_remote(config, held=True)
    pending = prefetcher_of(remote, late="zero").prefetch(input_ids)

    remote.tables[0].last.fail(ProtocolError("rows of another version"))

    with pytest.raises(ProtocolError):
        remote.modules[0](hidden_states, memory_embeddings=pending[0])


def test_a_decoder_without_its_memories_is_the_decoder_without_engram(config, make_remote, input_ids):
    remote = make_remote(config, held=True)
    decoder = TransformerWithEngram(
        config, num_blocks=3, num_heads=2, memories=remote.tables, prefetch=PrefetchSettings(late="zero")
    )

    output = decoder(input_ids)

    streams = decoder.embedding(input_ids).unsqueeze(2).repeat(1, 1, 2, 1)
    for block in decoder.blocks:
        streams = streams + block(streams.mean(dim=2)).unsqueeze(2)
    assert torch.equal(output.hidden_states, decoder.norm(streams.mean(dim=2)))
    assert [stats.passed_through for stats in decoder.prefetcher.stats().layers.values()] == [1, 1]
    assert decoder.prefetcher.stats().ring.in_use == 0
