"""How large a shard map may become: all of it is one value of its source, and one message to each client."""

from __future__ import annotations

from engram_store.shard_map import MAX_MAP_BYTES, ShardMap, to_message


def size_complaint(shard_map: ShardMap) -> str:
    """Return in a sentence that a map is too large to be stored, "" if it is not."""
    num_bytes = to_message(shard_map).ByteSize()
    if num_bytes <= MAX_MAP_BYTES:
        return ""
    return (
        f"the shard map would have {num_bytes:,} bytes, at most {MAX_MAP_BYTES:,} are possible: fewer tables or fewer "
        "nodes are needed; `engram-store forget` takes the previous versions of a set out of it"
    )
