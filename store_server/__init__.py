"""The memory node: holds tables on disk or in memory and serves their rows over gRPC."""
