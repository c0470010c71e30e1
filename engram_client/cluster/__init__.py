"""A table on many nodes: which of them to ask for which rows, and whom else when one fails, hesitates or is overtaken.

`cluster_transport` and `shard_map_cache` do the asking; the other modules decide, and know neither clocks nor networks.
"""
