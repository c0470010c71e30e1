"""Staging buffers under attack: whatever ends how and when, no layer ever reads a byte of another fetch.

`make test-attack` runs the long forms.
"""

from __future__ import annotations

import collections
import random

import numpy as np
import pytest
import torch
from support.unruly_transport import UnrulyTransport

from engram_client import TableInfo
from engram_client.blocking import BlockingStore
from engram_client.errors import EngramError, ProtocolError
from engram_client.store import Store
from engram_model import EngramModule, Prefetcher, PrefetchSettings, RingFull, RowsLate

FETCHES = [600, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
NUM_SLOTS = 5


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


class Attack:
    """Calls under way, what each layer must read, and what its output holds since it was last taken."""

    def __init__(self, prefetcher, expected_of, timeouts, seed):
        self.random = random.Random(seed)
        self.prefetcher = prefetcher
        self.calls = collections.deque()
        self.sent = collections.Counter()
        self.ended = collections.Counter()
        self._expected_of = expected_of
        self._timeouts = timeouts
        self._outputs = {}

    def ask(self):
        batch, length = self.random.choice([(1, 1), (3, 1), (2, 4), (1, 7)])
        ids = torch.tensor([[self.random.randrange(50) for _ in range(length)] for _ in range(batch)])
        try:
            self.calls.append((ids, self.prefetcher.prefetch(ids)))
            self.sent.update(call=1)
        except RingFull:
            self.ended.update(full=1)

    def end_one(self):
        """Take a call's layers, or discard it, in the order of the calls or not."""
        self.calls.rotate(self.random.choice([0, 0, 1]))
        ids, pending = self.calls.popleft()
        timeout = self.random.choice(self._timeouts)
        for layer in self.random.sample([0, 2], self.random.choice([0, 1, 2, 2, 2])):
            self.take(layer, ids, pending[layer], timeout)
        pending.discard()

    def take(self, layer, ids, pending, timeout):
        try:
            embeddings = pending.wait(timeout)
        except (EngramError, RowsLate) as error:
            self.ended.update({type(error).__name__: 1})
        else:
            self.ended.update(taken=1)
            self._outputs[layer] = embeddings, self._expected_of(layer, ids)
        self.check()

    def check(self):
        for layer, (embeddings, expected) in self._outputs.items():
            assert torch.equal(embeddings, expected), f"the output of layer {layer} changed"


@pytest.mark.parametrize(("late", "deduplicate"), [("wait", "always"), ("zero", "never")])
@pytest.mark.parametrize("num_fetches", FETCHES)
def test_no_buffer_is_lent_while_an_unruly_table_may_write_into_it(config, make_remote, num_fetches, late, deduplicate):
    remote = make_remote(config, held=True)
    settings = PrefetchSettings(
        num_slots=NUM_SLOTS, slot_wait_seconds=1e-6, max_tokens=8, late=late, deduplicate=deduplicate
    )
    attack = Attack(
        Prefetcher(remote.modules.values(), settings=settings),
        lambda layer, ids: remote.local[layer].prefetch_embeddings(ids).wait(),
        timeouts=[0.0],  # nothing comes while the test waits
        seed=1,
    )
    chance = attack.random

    def under_way():
        return [fetch for table in remote.tables.values() for fetch in table.fetches if not fetch.done()]

    def disturb():
        for table in remote.tables.values():
            table.fetches = [fetch for fetch in table.fetches if not fetch.done()]
            table.cancels_late = chance.random() < 0.3
        for fetch in chance.sample(fetches := under_way(), chance.randint(0, len(fetches))):
            fetch.out[...] = chance.randrange(256)
            if fetch.cancelled:
                fetch.end()
            elif chance.random() < 0.05:
                fetch.fail(ProtocolError("made up"))
            else:
                fetch.release()

    while attack.sent["call"] * 2 < num_fetches:
        attack.ask()
        disturb()
        if attack.calls and (len(attack.calls) > 1 or chance.random() < 0.5):
            attack.end_one()
        attack.check()

    assert {"taken", "full", "ProtocolError"} <= attack.ended.keys()
    assert attack.ended["taken"] > num_fetches // 10


@pytest.mark.parametrize("num_fetches", FETCHES)
def test_no_buffer_changes_after_its_fetch_ended_though_replies_are_late(config, make_remote, num_fetches):
    remote = make_remote(config)
    infos = {
        str(layer): TableInfo(
            name=str(layer),
            version="v1",
            num_rows=table.num_rows,
            row_bytes=table.row_bytes,
            row_format=table.row_format,
            fingerprint=table.fingerprint,
            backend="fake",
            max_rows_per_lookup=1000,
        )
        for layer, table in remote.tables.items()
    }
    rows = {str(layer): table.rows for layer, table in remote.tables.items()}
    transport = UnrulyTransport(infos, rows, seed=2)
    settings = PrefetchSettings(num_slots=NUM_SLOTS, slot_wait_seconds=0.002, max_tokens=8, timeout_seconds=0.02)
    with BlockingStore(Store(transport, timeout=10.0)) as store:
        modules = {layer: EngramModule(config, layer_id=layer, memory=store.table(str(layer))) for layer in (0, 2)}
        attack = Attack(
            Prefetcher(modules.values(), settings=settings),
            lambda layer, ids: remote.local[layer].prefetch_embeddings(ids).wait(),
            timeouts=[None, 0.0, 0.0005, 0.002],
            seed=3,
        )
        while attack.sent["call"] * 2 < num_fetches:
            attack.ask()
            if attack.calls and (len(attack.calls) > 1 or attack.random.random() < 0.5):
                attack.end_one()
            attack.check()

    assert attack.ended["taken"] > num_fetches // 10
    assert {"TimeLimitExceeded", "ProtocolError"} <= attack.ended.keys()
    assert np.array(list(transport.ended.values())).all()
