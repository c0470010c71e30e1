"""The wire between memory nodes and their clients: messages (v1) and the codec of the hot path."""
