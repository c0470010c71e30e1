"""A table on many nodes: which of them to ask for which rows, and whom else when one fails, hesitates or is overtaken.

`node_or_cluster` finds the cluster, `cluster_transport` is what tables are read by. A fetch goes down through
`cluster_fetch`, `part_race` and `asking` to the links of `linked_nodes`; those that fail, `trials` bring back;
`shard_map_cache` looks for newer maps. These wait and keep time. What they go by is decided apart, without clocks and
networks: `shard_split`, `replica_choice`, `hedging`, `latency`, `node_health`, `refusals`, `avoided` and `map_claims`.
"""
