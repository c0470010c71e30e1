"""Checkpoints that are attached: config, index and headers, with names that lead out of the directory."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fuzz.json_text import hostile_json
from fuzz.of_files import header_and_payload, hostile_safetensors
from fuzz.sent import send
from fuzz.sentinels import Sentinels
from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong

from store_server.storage import InvalidSource, StorageFailure
from store_server.storage.checkpoint import read_checkpoint
from store_server.storage.checkpoint.layout import CONFIG, INDEX
from store_server.storage.checkpoint.synthetic import SyntheticCheckpoint
from store_server.storage.checkpoint.write import write_checkpoint

_SCALE: Final = 4e-6  # some 1,500 rows a layer


@contextlib.contextmanager
def checkpoint_target(directory: Path) -> Iterator[TryOne]:
    """Read a checkpoint of which one file is hostile; no file beside its directory is opened."""
    home = directory / "checkpoint"
    write_checkpoint(home, SyntheticCheckpoint(scale=_SCALE))
    documents = {name: json.loads((home / name).read_bytes()) for name in (CONFIG, INDEX)}
    shards = sorted(home.glob("*.safetensors"))
    with Sentinels.planted(directory / "outside", like=shards[0]) as outside:
        hints = [*outside.ways_from(home), shards[0].name, [1, 14, 14], [1 << 40]]
        sound = read_checkpoint(home).manifests

        def try_one(rng: random.Random) -> str:
            path, content = _hostile_file(rng, home, documents, shards, hints)
            before = path.read_bytes()
            path.write_bytes(content)
            try:
                found = read_checkpoint(home).manifests
            except (InvalidSource, StorageFailure) as error:
                send(error)
                return REFUSED
            finally:
                path.write_bytes(before)
                outside.check()
            if {layer: manifest.num_rows for layer, manifest in found.items()} != {
                layer: manifest.num_rows for layer, manifest in sound.items()
            }:
                raise Wrong(f"{path.name} {content!r:.2000}: tables of other layers or sizes: {found}")
            return ACCEPTED

        yield try_one


def _hostile_file(
    rng: random.Random, home: Path, documents: dict[str, Any], shards: list[Path], hints: list[Any]
) -> tuple[Path, bytes]:
    if rng.random() < 0.25:
        path = rng.choice(shards)
        return path, hostile_safetensors(rng, *header_and_payload(path.read_bytes()))
    name = rng.choice(sorted(documents))
    return home / name, hostile_json(rng, (documents[name],), hints)
