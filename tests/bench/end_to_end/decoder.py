"""The model: blocks of a decoder with a cache of keys and values, and Engram layers before some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from bench.end_to_end.size import Size
from torch import Tensor, nn
from torch.nn import functional

from engram_model import EngramModule
from engram_model.memory import PendingEmbeddings
from engram_model.transformer import Block


class Past(NamedTuple):
    """Keys and values of one block, each (B, heads, most tokens, H / heads)."""

    keys: Tensor
    values: Tensor

    @classmethod
    def made_up(cls, size: Size) -> Self:
        """Return those of a context nobody computed: what it is changes no time."""
        shape = (size.decode_sequences, size.num_heads, size.context_tokens + size.decode_steps)
        keys, values = torch.randn(2, *shape, size.hidden_dim // size.num_heads)
        return cls(keys, values)


class Decoder(nn.Module):
    """Hidden states from token ids; where the rows of the Engram layers come from is its caller's choice."""

    def __init__(self, size: Size, engrams: Mapping[int, EngramModule]) -> None:
        super().__init__()
        self.num_branches = size.config.num_branches
        self.embedding = nn.Embedding(size.vocab_size, size.hidden_dim)
        self.blocks = nn.ModuleList(Block(size.hidden_dim, size.num_heads) for _ in range(size.num_blocks))
        self.engrams = nn.ModuleDict({str(layer): module for layer, module in engrams.items()})
        self.norm = nn.RMSNorm(size.hidden_dim)

    def forward(
        self,
        input_ids: Tensor,
        embeddings: Mapping[int, PendingEmbeddings],
        pasts: list[Past] | None = None,
        position: int = 0,
    ) -> Tensor:
        """Return hidden states (B, T, H): of whole sequences, or of one token each at a position behind their pasts."""
        streams = self.embedding(input_ids).unsqueeze(2).repeat(1, 1, self.num_branches, 1)  # (B, T, M, H)
        for index, block in enumerate(self.blocks):
            if index in embeddings:
                streams, _ = self.engrams[str(index)](streams, memory_embeddings=embeddings[index])
            hidden_states = streams.mean(dim=2)
            added = block(hidden_states) if pasts is None else _one_token(block, hidden_states, pasts[index], position)
            streams = streams + added.unsqueeze(2)
        return self.norm(streams.mean(dim=2))


def _one_token(block: Block, hidden_states: Tensor, past: Past, position: int) -> Tensor:
    """Return what a block adds to the hidden states (B, 1, H) of tokens that see all before them."""
    attention = block.attention
    heads = attention.qkv(block.attention_norm(hidden_states)).unflatten(-1, (3, attention.num_heads, -1))
    queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, 1, H / heads)
    past.keys[:, :, position : position + 1] = keys
    past.values[:, :, position : position + 1] = values
    seen = slice(position + 1)
    mixed = functional.scaled_dot_product_attention(queries, past.keys[:, :, seen], past.values[:, :, seen])
    attended = attention.out(mixed.transpose(1, 2).flatten(2))
    return attended + block.mlp(block.mlp_norm(hidden_states + attended))
