"""What a node answers: lookups, descriptions of tables, and failures in one shape."""
