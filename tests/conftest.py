"""Settings of all tests."""

import signal

from hypothesis import settings

# How long an example takes says nothing about what is tested, on a machine that others use too.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# Started in the background by a shell script or by nohup, a process inherits that these are ignored, and so do the
# processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
