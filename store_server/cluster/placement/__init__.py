"""Which node is to hold which shard: pure functions that every node computes alike."""
