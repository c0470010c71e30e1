"""What a node tells of its work to those who run it."""
