"""A tokenizer of a few words."""

from pathlib import Path

from tokenizers import Tokenizer, models

WORDS = ("one", "One", "<pad>", "two", "TWO", "three")
COMPRESSED_SIZE = 4


def write_tokenizer(path: Path) -> None:
    """Write a tokenizer.json whose six words are four when case is left out; the pad's id is 2."""
    Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, "<pad>")).save(str(path))
