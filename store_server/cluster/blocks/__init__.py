"""Blocks of versions on their way: where they come from, who hands them out, and that they arrive as they were."""
