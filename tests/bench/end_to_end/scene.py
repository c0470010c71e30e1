"""Everything that stands ready while it is measured: a node with the tables, a proxy before it, a model, its forms."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bench.end_to_end.cores import Cores
from bench.end_to_end.decoder import Decoder
from bench.end_to_end.forms import Form, Held, InLayer, Modules, OnlyOnePrefetched, Prefetched
from bench.end_to_end.size import ROW_FORMAT, Size
from numpy.typing import NDArray
from support.ctrl_c import node_without_ctrl_c
from support.delaying_proxy import DelayingProxy, delaying_proxy
from support.tables import write_table

import engram_client
from engram_model import EngramModule
from engram_model.addressing import Addressing
from store_server.storage.checkpoint.synthetic_rows import synthetic_rows

HELD, IN_PROCESS = "rows held", "in process"
PREFETCHED, IN_LAYER = "prefetched", "in the layer"
BY_PROXY = ", by proxy"
Rows = Mapping[int, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A decoder, and the forms by name."""

    size: Size
    decoder: Decoder
    straight: Mapping[str, Form]
    """All four, the remote ones without the proxy."""
    distant: Mapping[str, Form]
    """The remote ones behind the proxy."""
    only: Mapping[int, Form]
    """By layer id: the rows of this layer alone are remote, behind the proxy, and prefetched."""
    proxy: DelayingProxy

    def forms(self, added_ms: float) -> dict[str, Form]:
        """Return what is compared at a distance; with none, both without the proxy and behind it."""
        self.proxy.add_round_trip(added_ms / 1e3)
        if added_ms:
            return {**self.straight, **self.distant}
        return {**self.straight, **{form + BY_PROXY: self.distant[form] for form in self.distant}}


@contextlib.contextmanager
def scene(size: Size, directory: Path, cores: Cores) -> Iterator[Scene]:
    """Set it up; the calling thread is the model's from now on."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = _write_tables(directory, size)
    with contextlib.ExitStack() as stack:
        with cores.starting_on(cores.io):
            node = stack.enter_context(node_without_ctrl_c(directory))
            proxy = stack.enter_context(delaying_proxy(node.address))
            near, far = (_open(stack, url, size) for url in (node.url, f"grpc://{proxy.address}"))
        os.sched_setaffinity(0, cores.model)
        in_process = _open(stack, f"file://{directory}", size)
        decoder = Decoder(size, in_process).eval()
        _share_weights(in_process, near, far)
        most = max(size.prefill_tokens, size.decode_sequences)
        yield Scene(
            size=size,
            decoder=decoder,
            straight={
                HELD: Held(in_process, rows),
                PREFETCHED: Prefetched(near, most),
                IN_LAYER: InLayer(near),
                IN_PROCESS: InLayer(in_process),
            },
            distant={PREFETCHED: Prefetched(far, most), IN_LAYER: InLayer(far)},
            only={layer: OnlyOnePrefetched(layer, far, rows, most) for layer in size.layer_ids},
            proxy=proxy,
        )


def _write_tables(directory: Path, size: Size) -> Rows:
    rows = {}
    for layer in size.layer_ids:
        hasher = Addressing(size.config, layer, None).on_host
        numbers = np.arange(size.config.padded(hasher.num_rows[layer]))
        rows[layer] = synthetic_rows(numbers, layer, size.config.embedding_dim)
        fingerprint = hasher.fingerprint(layer)
        write_table(directory, f"layer-{layer}", rows[layer], row_format=ROW_FORMAT, fingerprint=fingerprint)
    return rows


def _open(stack: contextlib.ExitStack, url: str, size: Size) -> Modules:
    """Return the Engram layers with tables of a store, all of whose threads have been started."""
    store = stack.enter_context(engram_client.connect_blocking(url))
    modules = {}
    for layer in size.layer_ids:
        table = store.table(f"layer-{layer}")
        table.fetch(np.arange(table.num_rows))  # so that the pages are there and the connection has come up to speed
        modules[layer] = EngramModule(size.config, layer_id=layer, memory=table)
    return modules


def _share_weights(first: Modules, *others: Modules) -> None:
    """Give all the very same weights: none has its own, that would have to come from memory instead of a cache."""
    for modules in others:
        for layer, module in modules.items():
            module.gate, module.value_proj = first[layer].gate, first[layer].value_proj
