"""What this node has on its disk, and what it is to have by the map: fetched, checked, let go of."""
