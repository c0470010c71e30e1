"""The token map of a tokenizer: tokens whose texts differ only in case, accents or spacing share a compressed id."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engram_client.token_map_file import TokenMapDamaged, load_token_map, save_token_map

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

__all__ = [
    "CompressedVocabulary",
    "FastTokenizer",
    "TokenMapDamaged",
    "compress_vocabulary",
    "describe_compression",
    "load_token_map",
    "save_token_map",
    "token_normalizer",
]

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
            `tokenizer.json` or of a directory that holds one.

    Raises:
        ImportError: the tokenizers library is not installed (extra `formats`).
        TypeError: the tokenizer is none of these, for instance a slow one of the transformers library.
        ValueError: the vocabulary is empty, or the file is not a tokenizer.
        OSError: the file cannot be read.
    """
    vocabulary = describe_compression(tokenizer)
    return vocabulary.token_map, vocabulary.size


@dataclass(frozen=True, slots=True, eq=False)
class CompressedVocabulary:
    """A token map with the texts that it was made from."""

    token_map: NDArray[np.int64]
    """Token id to compressed id, (vocabulary,)."""
    keys: list[str]
    """What the tokens of each compressed id have in common."""
    texts: list[str]
    """The decoded text of each token."""

    @property
    def size(self) -> int:
        """The number of compressed ids."""
        return len(self.keys)

    @property
    def reduction(self) -> float:
        """The share of ids that compression saves, between 0 and 1."""
        return 1 - self.size / len(self.token_map)

    def largest_groups(self, count: int) -> list[tuple[str, list[str]]]:
        """Return the keys with the most tokens, the largest first, and the texts of their tokens."""
        sizes = Counter(self.token_map.tolist()).most_common(count)
        return [
            (self.keys[compressed], [self.texts[token_id] for token_id in np.flatnonzero(self.token_map == compressed)])
            for compressed, _ in sizes
        ]


def describe_compression(tokenizer: Tokenizer | FastTokenizer | str | os.PathLike[str]) -> CompressedVocabulary:
    """Return the token map with what it was made from; argument and errors as for `compress_vocabulary`."""
    backend = _backend(tokenizer)
    size = backend.get_vocab_size(with_added_tokens=True)
    if size == 0:
        raise ValueError("the tokenizer's vocabulary must hold at least one token, got none")
    normalizer = token_normalizer()
    texts: list[str] = [backend.decode([token_id], skip_special_tokens=False) for token_id in range(size)]
    order: dict[str, int] = {}
    ids = (
        order.setdefault(_key(backend, normalizer, token_id, text), len(order)) for token_id, text in enumerate(texts)
    )
    token_map = np.fromiter(ids, dtype=np.int64, count=size)
    return CompressedVocabulary(token_map, list(order), texts)


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


def _key(backend: Tokenizer, normalizer: Normalizer, token_id: int, text: str) -> str:
    """Return what makes a token the same as another; the backend's decode never cleans spaces up."""
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
        path = Path(tokenizer)
        path = path / "tokenizer.json" if path.is_dir() else path
        content = path.read_bytes()
        try:
            return Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises nothing more precise
            raise ValueError(f"{path} is not a tokenizer of the tokenizers library: {error}") from error
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        raise TypeError(f"expected a tokenizer backed by the tokenizers library or a path, got {type(tokenizer)!r}")
    return backend
