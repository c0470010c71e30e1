"""What the tests of the layer share: a tiny configuration, random weights, and a table at the lowest seam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.held_table import HeldRows, HeldTable

from engram_client import formats
from engram_client.hashing import NgramHasher
from engram_model import EngramConfig, EngramModule

SMALL = {"vocab_size": 50, "embedding_table_size": 11, "embedding_dim": 4, "hidden_dim": 8}
FORMS = {
    "demo": replace(EngramConfig.official_demo(), num_hash_heads=2, num_branches=2, **SMALL),
    "paper": replace(EngramConfig.paper_27b(), num_hash_heads=2, num_branches=2, **SMALL),
    "v41": replace(
        EngramConfig.deepseek_v41_flash(), compressed_vocab_size=None, num_hash_heads=2, num_branches=2, **SMALL
    ),
    "academic": replace(EngramConfig.academic(), num_hash_heads=2, **SMALL),
    "study": EngramConfig.study(num_hash_heads=2, **SMALL),
}
TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class NumpyRows:
    """Rows that arrive when they are asked for."""

    def __init__(self, table: NumpyTable, ids: NDArray[np.int64]) -> None:
        self._table = table
        self._ids = ids

    def result(self, timeout: float | None = None) -> NDArray[np.uint8]:
        self._table.events.append(("wait", self._table.name))
        self._table.timeouts.append(timeout)
        return self._table.rows[self._ids]


class NumpyTable:
    """A blocking table of the client, in an array; it writes down what is asked of it."""

    def __init__(self, rows: NDArray[np.uint8], row_format: str, fingerprint: str = "", name: object = None) -> None:
        self.rows = rows
        self.num_rows, self.row_bytes = rows.shape
        self.row_format = row_format
        self.fingerprint = fingerprint
        self.name = name
        self.events: list[tuple[str, object]] = []
        self.timeouts: list[float | None] = []

    def prefetch(
        self, ids: NDArray[np.int64], *, out: NDArray[np.uint8] | None = None, timeout: float | None = None
    ) -> NumpyRows | HeldRows:
        if out is not None:
            return HeldTable(self, self.events, held=False).prefetch(ids, out=out, timeout=timeout)
        self.events.append(("prefetch", self.name))
        return NumpyRows(self, ids)

    def fetch(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.prefetch(ids).result()


class TableOfNothing:
    """A table that only says what it is."""

    def __init__(self, num_rows: int, row_bytes: int, row_format: str, fingerprint: str) -> None:
        self.num_rows, self.row_bytes = num_rows, row_bytes
        self.row_format, self.fingerprint = row_format, fingerprint


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


@pytest.fixture
def config() -> EngramConfig:
    return EngramConfig(
        vocab_size=50,
        max_n=3,
        num_hash_heads=2,
        embedding_table_size=(11, 13),
        embedding_dim=4,
        hidden_dim=8,
        layer_ids=(0, 2),
        num_branches=2,
    )


@pytest.fixture
def forms() -> dict[str, EngramConfig]:
    return FORMS


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> EngramConfig:
    """Every preset in small."""
    return FORMS[request.param]


@pytest.fixture
def make_module() -> Callable[..., EngramModule]:
    """A module none of whose weights is 0 or 1, so that none of them can be left out unseen."""

    def make(config: EngramConfig, dtype: torch.dtype = torch.float32, **options: object) -> EngramModule:
        module = EngramModule(config, **options)
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
        return module.to(dtype)

    return make


@pytest.fixture
def store_of() -> Callable[..., NumpyTable]:
    """A table with the rows of a local module, rounded to the row format; the module's own are rounded with them."""

    def store(local: EngramModule, row_format: str = "float32") -> NumpyTable:
        weight = local.memory.table.weight
        rows = weight.detach().to(TORCH_DTYPES[row_format])
        with torch.no_grad():
            weight.copy_(rows)
        fingerprint = local.hasher.fingerprint(local.layer_id)
        return NumpyTable(rows.view(torch.uint8).numpy().copy(), row_format, fingerprint, local.layer_id)

    return store


class Remote(NamedTuple):
    """Engram layers twice, of the same weights and rows: `local` with tables of their own, `modules` with `tables`."""

    local: dict[int, EngramModule]
    modules: dict[int, EngramModule]
    tables: dict[int, HeldTable]
    log: list[tuple[str, object]]


@pytest.fixture
def make_remote(make_module, store_of) -> Callable[..., Remote]:
    """Layers whose tables answer at once, unless they are held."""

    def make(config: EngramConfig, *, held: bool = False, row_format: str = "float32") -> Remote:
        log: list[tuple[str, object]] = []
        local = {layer: make_module(config, layer_id=layer) for layer in config.layer_ids}
        tables = {layer: HeldTable(store_of(module, row_format), log, held=held) for layer, module in local.items()}
        modules = {layer: EngramModule(config, layer_id=layer, memory=table) for layer, table in tables.items()}
        for layer, module in modules.items():
            weights = local[layer].state_dict().items()
            module.load_state_dict({name: value for name, value in weights if not name.startswith("memory.")})
        return Remote(local, modules, tables, log)

    return make


@pytest.fixture
def table_for() -> Callable[[EngramConfig, str], TableOfNothing]:
    """A table of any size without rows, that fits the first layer."""

    def table(config: EngramConfig, row_format: str) -> TableOfNothing:
        size = config.compressed_vocab_size or config.vocab_size
        hasher = NgramHasher(config.hash_spec, np.arange(config.vocab_size) % size)
        layer = config.layer_ids[0]
        row_bytes = formats.row_bytes(row_format, config.embedding_dim)
        return TableOfNothing(hasher.num_rows[layer], row_bytes, row_format, hasher.fingerprint(layer))

    return table


@pytest.fixture
def input_ids() -> torch.Tensor:
    return torch.randint(0, 50, (2, 11))


@pytest.fixture
def hidden_states() -> torch.Tensor:
    return torch.randn(2, 11, 2, 8)
