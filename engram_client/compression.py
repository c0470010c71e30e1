"""The token map of a tokenizer: tokens whose texts differ only in case, accents or spacing share a compressed id."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

REPLACEMENT_CHARACTER = "\ufffd"
# Stands for a lone space while the ends are stripped; a real one in a token's text turns into a space too.
LONE_SPACE = "\ue000"


class FastTokenizer(Protocol):
    """A tokenizer of the transformers library that is backed by the tokenizers library."""

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The tokenizer that does the work."""
        ...


def compress_vocabulary(
    tokenizer: Tokenizer | FastTokenizer | str | os.PathLike[str],
) -> tuple[NDArray[np.int64], int]:
    """Return the token map, int64 (vocabulary,) from token id to compressed id, and the number of compressed ids.

    Compressed ids count the distinct keys of the tokens in the order of the token ids. A token's key is its decoded
    text (special tokens included), normalised; the text as it is if nothing is left of it; and the token's string in
    the vocabulary if the text is not valid UTF-8 by itself. The map is that of DeepSeek's demonstration program:
    128,815 ids to 98,627 for DeepSeek-V3, 129,280 to 99,092 for DeepSeek-V4. It takes about a second.

    Args:
        tokenizer: of the tokenizers library, of the transformers library (a fast one), or the path of a
            `tokenizer.json`.

    Raises:
        ImportError: the tokenizers library is not installed (extra `formats`).
        TypeError: the tokenizer is none of these, for instance a slow one of the transformers library.
        ValueError: the vocabulary is empty.
    """
    backend = _backend(tokenizer)
    size = backend.get_vocab_size(with_added_tokens=True)
    if size == 0:
        raise ValueError("the tokenizer's vocabulary must hold at least one token, got none")
    normalizer = token_normalizer()
    order: dict[str, int] = {}
    ids = (order.setdefault(_key(backend, normalizer, token_id), len(order)) for token_id in range(size))
    token_map = np.fromiter(ids, dtype=np.int64, count=size)
    return token_map, len(order)


def token_normalizer() -> Normalizer:
    """Return the normaliser of token texts; only the one of the tokenizers library has the right Unicode tables."""
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.NFD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[ \t\r\n]+"), " "),
            normalizers.Replace(Regex(r"^ $"), LONE_SPACE),
            normalizers.Strip(),
            normalizers.Replace(LONE_SPACE, " "),
        ]
    )


def _key(backend: Tokenizer, normalizer: Normalizer, token_id: int) -> str:
    """Return what makes a token the same as another; the backend's decode never cleans spaces up."""
    text: str = backend.decode([token_id], skip_special_tokens=False)
    if REPLACEMENT_CHARACTER in text:
        return backend.id_to_token(token_id) or text
    return normalizer.normalize_str(text) or text


def _backend(tokenizer: Tokenizer | FastTokenizer | str | os.PathLike[str]) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError(
            "compressing a vocabulary needs the tokenizers library: pip install 'engram-store[formats]'"
        ) from error
    if isinstance(tokenizer, (str, os.PathLike)):
        return Tokenizer.from_file(os.fspath(tokenizer))
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        raise TypeError(f"expected a tokenizer backed by the tokenizers library or a path, got {type(tokenizer)!r}")
    return backend
