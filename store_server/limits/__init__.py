"""How much a node does and holds at once, and what part of it each client may have."""
