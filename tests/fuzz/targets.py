"""All that is fuzzed in a process of its own; the node is fuzzed over the wire."""

from __future__ import annotations

from typing import Final

from fuzz.of_certificates import certificates_target, tls_files_target
from fuzz.of_checkpoint import checkpoint_target
from fuzz.of_codec import codec_target
from fuzz.of_credentials import callers_target, tokens_target
from fuzz.of_files import npy_target, safetensors_target, token_map_target
from fuzz.of_kept import kept_target
from fuzz.of_root import manifest_target, root_target
from fuzz.of_settings import settings_target
from fuzz.of_shard_map import shard_map_target
from fuzz.target import Target

TARGETS: Final = (
    Target("codec", "lookups and replies, beside protobuf's parser", 250, codec_target),
    Target("shard-map", "shard maps as messages and as JSON", 80, shard_map_target),
    Target("manifest", "manifests of versions", 100, manifest_target),
    Target("root", "versions whose files were changed on the disk", 40, root_target),
    Target("safetensors", "files to import or attach, beside the library", 70, safetensors_target),
    Target("npy", "files to import, beside NumPy", 40, npy_target),
    Target("checkpoint", "config, index and headers, with names that lead elsewhere", 15, checkpoint_target),
    Target("token-map", "token maps", 25, token_map_target),
    Target("tokens", "files of credentials: who is let in, and no secret told", 20, tokens_target),
    Target("callers", "authorization headers", 50, callers_target),
    Target("certificates", "certificates that callers show", 25, certificates_target),
    Target("tls-files", "a node's certificate, key and authorities while they are replaced", 5, tls_files_target),
    Target("settings", "the TOML file of --config", 2, settings_target, opens_what_is_named=True),
    Target("kept", "quarantine, copies, maps, ids of clusters, registrations, marks of workers", 30, kept_target),
)
