"""One transformer layer with an Engram layer in front of its attention, as the study implementation has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from engram_model.module import EngramModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from engram_model.config import EngramConfig
    from engram_model.memory import PendingEmbeddings


class EngramTransformerLayer(nn.Module):
    """Engram, attention and a perceptron, each added to the hidden states; the last two are normalised in front.

    The arguments are those of the study implementation. That one puts Engram behind the attention, on normalised hidden
    states which take the place of the residual; here it comes first and adds to the residual, as in the paper.

    Args:
        hidden_dim: H, the `hidden_dim` of the configuration.
        num_heads: attention heads; divides `hidden_dim`.
        ffn_dim: width of the perceptron.
        engram_config: settings of the Engram layer, of one branch; None leaves it out.
        dropout: share of the attention weights and of the perceptron's output that is left out in training.

    Raises:
        ValueError: the configuration is of another width or of several branches; also what `EngramModule` raises.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        ffn_dim: int,
        engram_config: EngramConfig | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.engram = None if engram_config is None else _engram(engram_config, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.self_attn = nn.MultiheadAttention(hidden_dim, num_heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.ffn = nn.Sequential(
            nn.Linear(hidden_dim, ffn_dim), nn.GELU(), nn.Linear(ffn_dim, hidden_dim), nn.Dropout(dropout)
        )

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        input_ids: Tensor | ArrayLike | None = None,
        memory_embeddings: PendingEmbeddings | Tensor | NDArray[np.uint8] | None = None,
        *,
        sequence_ids: Tensor | NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Return the hidden states (B, T, H) behind the layer.

        Args:
            hidden_states: (B, T, H).
            attention_mask: as `attn_mask` of `torch.nn.MultiheadAttention` (True hides); without one, every token sees
                every other.
            input_ids: raw token ids (B, T), as for `EngramModule`; they or embeddings are needed if there is an Engram.
            memory_embeddings: as for `EngramModule`.
            sequence_ids: as for `EngramModule`; what the attention hides is for `attention_mask` to say.

        Raises:
            ValueError: as `EngramModule`.
        """
        if self.engram is not None:
            hidden_states, _ = self.engram(hidden_states, input_ids, memory_embeddings, sequence_ids=sequence_ids)
        normed = self.norm1(hidden_states)
        attended, _ = self.self_attn(normed, normed, normed, attn_mask=attention_mask, need_weights=False)
        hidden_states = hidden_states + attended
        thought: Tensor = self.ffn(self.norm2(hidden_states))
        return hidden_states + thought


def _engram(config: EngramConfig, hidden_dim: int) -> EngramModule:
    if (config.num_branches, config.hidden_dim) != (1, hidden_dim):
        raise ValueError(
            f"engram_config must have one branch of hidden_dim {hidden_dim}, got {config.num_branches} of "
            f"{config.hidden_dim}"
        )
    return EngramModule(config)
