"""Settings of all tests."""

from hypothesis import settings

# How long an example takes says nothing about what is tested, on a machine that others use too.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
