"""Settings of all tests."""

import os
import signal

import pytest
from hypothesis import settings

# Folders whose files wait for seconds and more: processes that begin with them have the others' tests to compute
# meanwhile, and none is left waiting alone in the end.
WAITING_FOLDERS = ("soak", "upgrade", "overload", "fuzz", "chaos", "bench", "load")

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the files that wait come first."""
    tests = config.rootpath / "tests"
    items.sort(key=lambda item: item.path.relative_to(tests).parts[0] not in WAITING_FOLDERS)
