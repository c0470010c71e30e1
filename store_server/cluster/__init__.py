"""A node as one of many: the shard map, where it comes from, and what this node is to hold by it."""
