"""`engram-store compression`: how far a tokenizer's vocabulary compresses, and its token map as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from store_server.commands.failure import CommandFailed

EXAMPLES = (
    "engram-store compression ./DeepSeek-V4.1-Flash/tokenizer.json",
    "engram-store compression ./DeepSeek-V4.1-Flash --save tokens.map",
)
_GROUPS, _TEXTS_A_GROUP = 10, 8


def compression(
    tokenizer: Annotated[
        Path,
        typer.Argument(metavar="TOKENIZER", help="tokenizer.json, or a directory with one.", show_default=False),
    ],
    save: Annotated[Path | None, typer.Option("--save", help="File to save the token map to.")] = None,
) -> None:
    """Say how far a vocabulary compresses, and save its token map for processes without a tokenizer.

    Tokens that differ only in case, accents or the space around them share a compressed id, which is what n-grams are
    hashed from. Printed are the numbers of ids before and after, the digest of the token map (a fingerprint holds it),
    and the compressed ids that most tokens share: how many, their text, and the first of the tokens.
    """
    from engram_client.compression import describe_compression, save_token_map
    from engram_client.hashing.fingerprint import token_map_sha256

    try:
        vocabulary = describe_compression(tokenizer)
    except (ImportError, ValueError) as error:
        raise CommandFailed(str(error)) from error
    if save is not None:
        try:
            save_token_map(save, vocabulary.token_map)
        except OSError as error:
            raise CommandFailed(f"cannot save the token map to {save}: {error.strerror}") from error
    typer.echo(f"token ids       {len(vocabulary.token_map):,}")
    typer.echo(f"compressed ids  {vocabulary.size:,}")
    typer.echo(f"reduction       {vocabulary.reduction:.3%}")
    typer.echo(f"sha256          {token_map_sha256(vocabulary.token_map)}")
    if save is not None:
        typer.echo(f"saved to        {save}")
    typer.echo("largest groups")
    for key, texts in vocabulary.largest_groups(_GROUPS):
        if len(texts) > 1:
            examples = " ".join(repr(text) for text in texts[:_TEXTS_A_GROUP])
            typer.echo(f"{len(texts):>6} ids  {key!r:<6} {examples}{' ...' if len(texts) > _TEXTS_A_GROUP else ''}")
