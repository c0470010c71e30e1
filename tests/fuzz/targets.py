"""All that is fuzzed in a process of its own; the node is fuzzed over the wire."""

from __future__ import annotations

from typing import Final

from fuzz.of_checkpoint import checkpoint_target
from fuzz.of_codec import codec_target
from fuzz.of_files import npy_target, safetensors_target, token_map_target
from fuzz.of_root import manifest_target, root_target
from fuzz.of_shard_map import shard_map_target
from fuzz.target import Target

TARGETS: Final = (
    Target("codec", "lookups and replies, beside protobuf's parser", 28, codec_target),
    Target("shard-map", "shard maps as messages and as JSON", 10, shard_map_target),
    Target("manifest", "manifests of versions", 14, manifest_target),
    Target("root", "versions whose files were changed on the disk", 4, root_target),
    Target("safetensors", "files to import or attach, beside the library", 10, safetensors_target),
    Target("npy", "files to import, beside NumPy", 5, npy_target),
    Target("checkpoint", "config, index and headers, with names that lead elsewhere", 2, checkpoint_target),
    Target("token-map", "token maps", 3, token_map_target),
)
