"""Settings of all tests."""

import os
import signal

from hypothesis import settings

# How long an example takes says nothing about what is tested, on a machine that others use too.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# The matrices of tests are small: several threads for one of them would wait for each other more than they work. Set
# before anything imports torch or NumPy, and for the processes that the tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in the background by a shell script or by nohup, a process inherits that these are ignored, and so do the
# processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
