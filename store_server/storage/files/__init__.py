"""Files that hold rows, and how each lays them out."""
