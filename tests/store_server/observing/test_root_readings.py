"""What is shown of the disk below a data root: also of one that takes nothing, or does not even answer."""

import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from store_server.observing.root_readings import RootReadings, RootState, look_at

SEEN = RootState(all_bytes=100, free_bytes=50, is_writable=True)
PATIENCE_SECONDS = 60
TAKES_NOTHING = """
import resource, sys
from pathlib import Path
from store_server.observing.root_readings import look_at
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(look_at(Path(sys.argv[1])).is_writable)
"""


class Disk:
    """Answers what it is asked once `answers` is set."""

    def __init__(self):
        self.answers, self._asked = threading.Event(), threading.Event()

    def look(self, _root):
        self._asked.set()
        assert self.answers.wait(PATIENCE_SECONDS)
        return SEEN

    @contextmanager
    def stuck(self, readings):
        """Have a thread begin a look that finds no end as long as the block lasts."""
        self.answers.clear()
        self._asked.clear()
        looking = threading.Thread(target=readings.newest)
        looking.start()
        assert self._asked.wait(PATIENCE_SECONDS)
        try:
            yield
        finally:
            self.answers.set()
            looking.join()


def test_sizes_are_those_of_the_file_system_and_nothing_is_left_behind(tmp_path):
    found = look_at(tmp_path)

    usage = shutil.disk_usage(tmp_path)
    assert found.all_bytes == usage.total
    assert 0 < found.free_bytes <= usage.total
    assert found.is_writable
    assert list(tmp_path.iterdir()) == []


def test_a_disk_on_which_a_file_can_be_made_and_not_filled_is_not_writable(tmp_path):
    command = [sys.executable, "-c", TAKES_NOTHING, str(tmp_path)]

    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"


def test_a_root_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        RootReadings(tmp_path / "gone", wait_seconds=PATIENCE_SECONDS).newest()


def test_a_disk_is_asked_every_thirty_seconds():
    asked, now = [], [0.0]

    def look(root):
        asked.append(root)
        return SEEN._replace(free_bytes=len(asked))

    readings, found = RootReadings("root", look=look, now=lambda: now[0], wait_seconds=PATIENCE_SECONDS), []
    for now[0] in (0.0, 29.0, 30.0, 59.0, 60.0):
        found.append(readings.newest().free_bytes)

    assert found == [1, 1, 2, 2, 3]


def test_a_disk_that_stops_answering_is_not_waited_for_and_not_writable():
    disk, now = Disk(), [0.0]
    readings = RootReadings("root", look=disk.look, now=lambda: now[0], wait_seconds=PATIENCE_SECONDS)
    disk.answers.set()
    assert readings.newest() == SEEN
    now[0] = 30.0
    with disk.stuck(readings):
        assert readings.newest() == SEEN
        now[0] = 35.0
        assert readings.newest() == SEEN._replace(is_writable=False)


def test_a_disk_that_never_answered_shows_no_sizes():
    disk = Disk()
    readings = RootReadings("root", look=disk.look, wait_seconds=PATIENCE_SECONDS)

    with disk.stuck(readings), pytest.raises(TimeoutError, match="does not answer"):
        readings.newest()


def test_only_who_begins_a_look_waits_for_it():
    disk = Disk()
    readings = RootReadings("root", look=disk.look, wait_seconds=PATIENCE_SECONDS)
    with disk.stuck(readings):
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                readings.newest()

        assert time.monotonic() - began < PATIENCE_SECONDS  # far less; nobody waited for the disk


def test_each_failure_is_raised_anew(tmp_path):
    readings, failures = RootReadings(tmp_path / "gone", wait_seconds=PATIENCE_SECONDS), []
    for _ in range(2):
        with pytest.raises(FileNotFoundError) as failed:
            readings.newest()
        failures.append(failed.value)

    assert failures[0] is not failures[1]
