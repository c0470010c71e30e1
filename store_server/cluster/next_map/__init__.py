"""What becomes of the shard map: pure functions of the map and of what nodes say."""
