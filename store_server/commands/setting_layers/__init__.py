"""Settings of a node that are not on its command line: in its environment, and below that in a file."""
