"""A copy of a data root that is a data root itself, made while that is served and changed."""
