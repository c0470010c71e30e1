"""An example of use: a small decoder that asks for all its memories before its first block."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

from engram_model.module import EngramModule
from engram_model.prefetch import Prefetcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from engram_model.config import EngramConfig
    from engram_model.memory import PendingEmbeddings
    from engram_model.prefetch import PrefetchSettings
    from engram_model.store_memory import StoreTable


class DecoderOutput(NamedTuple):
    """What one pass of the decoder gives."""

    hidden_states: Tensor
    """(B, T, H), normalised."""
    gating: dict[int, Tensor]
    """Layer id to gating (B, T, M)."""
    waited_seconds: dict[int, float]
    """Layer id to how long the layer stood still for its rows; the rest of the fetch was hidden behind other work."""


class TransformerWithEngram(nn.Module):
    """A decoder with Engram layers before the blocks that `config.layer_ids` names.

    Order comes from the causal mask alone, without position embeddings. A backbone of M branches is imitated: blocks
    read the mean of the streams and add to each of them, where a real one (mHC) learns how to mix.

    Args:
        config: settings of the Engram layers, with the model's `vocab_size` and `hidden_dim`.
        num_blocks: transformer blocks; every layer id must be below.
        num_heads: attention heads of a block; divides `hidden_dim`.
        memories: layer id to a blocking table of the client; layers without one hold a local table.
        token_map: token id to compressed id; every id stands for itself, unless told.
        prefetch: limits of the fetches, and what layers do whose rows are late.

    Raises:
        ValueError: a layer id is not below `num_blocks`, `memories` names a layer without Engram, or `num_heads` does
            not divide `hidden_dim`; also what `EngramModule` raises.
    """

    def __init__(
        self,
        config: EngramConfig,
        *,
        num_blocks: int,
        num_heads: int,
        memories: Mapping[int, StoreTable] | None = None,
        token_map: ArrayLike | None = None,
        prefetch: PrefetchSettings | None = None,
    ) -> None:
        super().__init__()
        memories = memories or {}
        _check_layers(config.layer_ids, num_blocks, memories)
        self.layer_ids = config.layer_ids
        self.num_branches = config.num_branches
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_dim)
        self.blocks = nn.ModuleList(Block(config.hidden_dim, num_heads) for _ in range(num_blocks))
        self.engrams = nn.ModuleDict(
            {
                str(layer): EngramModule(config, layer_id=layer, token_map=token_map, memory=memories.get(layer))
                for layer in config.layer_ids
            }
        )
        self.norm = nn.RMSNorm(config.hidden_dim)
        self.prefetch_settings = prefetch

    @cached_property
    def prefetcher(self) -> Prefetcher:
        """What asks for the rows of all layers; made when it is first used, and not copied or saved with the model."""
        return Prefetcher((self.engram(layer) for layer in self.layer_ids), settings=self.prefetch_settings)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "prefetcher"}

    def forward(self, input_ids: Tensor, sequence_ids: Tensor | None = None) -> DecoderOutput:
        """Run token ids (B, T) through the decoder; all fetches are under way before the first block.

        `sequence_ids` (B, T) are the documents packed into each row, as for `EngramModule`; each is read on its own.

        Raises:
            ValueError: there are more tokens than the prefetch settings' `max_tokens`.
            RingFull, EngramError: as `Prefetcher.prefetch`, and as waiting for what it returns.
        """
        with self.prefetcher.prefetch(input_ids, sequence_ids=sequence_ids) as pending:
            return self._decode(input_ids, sequence_ids, pending)

    def _decode(
        self, input_ids: Tensor, sequence_ids: Tensor | None, pending: Mapping[int, PendingEmbeddings]
    ) -> DecoderOutput:
        visible = None if sequence_ids is None else _visible(sequence_ids)
        streams = self.embedding(input_ids).unsqueeze(2).repeat(1, 1, self.num_branches, 1)  # (B, T, M, H)
        gating: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            if index in pending:
                streams, gating[index] = self.engram(index)(
                    streams, memory_embeddings=pending[index], return_gating=True, sequence_ids=sequence_ids
                )
            streams = streams + block(streams.mean(dim=2), visible).unsqueeze(2)
        waited_seconds = {layer: embeddings.waited_seconds for layer, embeddings in pending.items()}
        return DecoderOutput(self.norm(streams.mean(dim=2)), gating, waited_seconds)

    def engram(self, layer_id: int) -> EngramModule:
        """Return the Engram layer before block `layer_id`."""
        return cast("EngramModule", self.engrams[str(layer_id)])

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Return the scores (B, T, vocab_size) of the next token; input and output embeddings are one."""
        return functional.linear(hidden_states, self.embedding.weight)


class Block(nn.Module):
    """Attention, then a perceptron, each normalised in front; returns what is to be added to the residual."""

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(hidden_dim)
        self.attention = CausalAttention(hidden_dim, num_heads)
        self.mlp_norm = nn.RMSNorm(hidden_dim)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_dim, 4 * hidden_dim), nn.SiLU(), nn.Linear(4 * hidden_dim, hidden_dim)
        )

    def forward(self, hidden_states: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the block's addition (B, T, H) to hidden states (B, T, H)."""
        attended: Tensor = self.attention(self.attention_norm(hidden_states), visible)
        thought: Tensor = self.mlp(self.mlp_norm(hidden_states + attended))
        return attended + thought


class CausalAttention(nn.Module):
    """Multi-head attention in which a token sees itself and those before it."""

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        if hidden_dim % num_heads:
            raise ValueError(f"num_heads must divide hidden_dim {hidden_dim}, got {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_dim, 3 * hidden_dim, bias=False)
        self.out = nn.Linear(hidden_dim, hidden_dim, bias=False)

    def forward(self, hidden_states: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the mixed hidden states (B, T, H); `visible` (B, 1, T, T) tells which tokens each sees, if not all."""
        heads = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, heads, H / heads)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, H / heads)
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=visible, is_causal=visible is None
        )
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


def _visible(sequence_ids: Tensor) -> Tensor:
    """Return which tokens each token sees (B, 1, T, T): those of its own document up to itself."""
    starts = functional.pad((sequence_ids[:, 1:] != sequence_ids[:, :-1]).long(), (1, 0))
    document = starts.cumsum(dim=1)  # (B, T), counted: a document ends where the ids change
    return (document.unsqueeze(2) == document.unsqueeze(1)).tril().unsqueeze(1)


def _check_layers(layer_ids: tuple[int, ...], num_blocks: int, memories: Mapping[int, StoreTable]) -> None:
    if max(layer_ids) >= num_blocks:
        raise ValueError(f"layer_ids must be below num_blocks {num_blocks}, got {layer_ids}")
    if unknown := sorted(memories.keys() - set(layer_ids)):
        raise ValueError(f"memories must be for the layers {layer_ids}, got one for {unknown}")
