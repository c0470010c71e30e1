"""Who may do what on a node."""
