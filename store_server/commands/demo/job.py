"""What the demo is about to do; everything follows from the text and the size of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from store_server.commands.demo.model import demo_config
from store_server.commands.demo.steps import step
from store_server.commands.demo.tables import table_specs
from store_server.commands.demo.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engram_model import EngramConfig
    from store_server.commands.demo.text import Passage
    from store_server.storage import TableSpec

SENTENCE: Final = "Only Alexander the Great could tame the horse Bucephalus."
_SEQUENCE_TOKENS: Final = 512
_BATCH_SEQUENCES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A text cut into batches of token ids (sequences, tokens), and the model and tables for it."""

    text_name: str
    whole_text: bool
    batches: list[NDArray[np.int64]]
    sentence: NDArray[np.int64]
    sentence_tokens: list[str]
    vocabulary: Vocabulary
    config: EngramConfig
    specs: dict[int, TableSpec]

    @property
    def num_tokens(self) -> int:
        """Tokens of the text."""
        return sum(batch.size for batch in self.batches)


def prepare_job(passage: Passage, *, min_rows: int) -> Job:
    """Tokenize the text and say what tables its hash needs, each of at least `min_rows` rows."""
    with step("load the tokenizer of DeepSeek V4 and compress its vocabulary"):
        vocabulary = Vocabulary()
    with step("tokenize the text"):
        token_ids, _ = vocabulary.tokens(passage.text)
        sentence, sentence_tokens = vocabulary.tokens(SENTENCE)
    with step("import torch"):  # which the model's package does, and which takes seconds
        config = demo_config(vocabulary.size, min_rows)
    return Job(
        text_name=passage.name,
        whole_text=passage.is_whole and len(token_ids) <= passage.max_tokens,
        batches=_batches(token_ids[: passage.max_tokens]),
        sentence=sentence[None],
        sentence_tokens=sentence_tokens,
        vocabulary=vocabulary,
        config=config,
        specs=table_specs(config, vocabulary.token_map),
    )


def _batches(token_ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut (tokens,) into batches (sequences, tokens); what does not fill a sequence is the last batch."""
    whole = len(token_ids) - len(token_ids) % _SEQUENCE_TOKENS
    sequences = token_ids[:whole].reshape(-1, _SEQUENCE_TOKENS)
    batches = [sequences[first : first + _BATCH_SEQUENCES] for first in range(0, len(sequences), _BATCH_SEQUENCES)]
    return batches if whole == len(token_ids) else [*batches, token_ids[None, whole:]]
