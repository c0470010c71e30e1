"""What is shown of the disk below a data root: also of one that takes nothing, or does not even answer."""

import shutil
import subprocess
import sys
import threading

import pytest

from store_server.observing.root_readings import RootReadings, RootState, look_at

SEEN = RootState(all_bytes=100, free_bytes=50, is_writable=True)
TAKES_NOTHING = """
import resource, sys
from pathlib import Path
from store_server.observing.root_readings import look_at
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(look_at(Path(sys.argv[1])).is_writable)
"""


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
        RootReadings(tmp_path / "gone").newest()


def test_a_disk_is_asked_every_thirty_seconds():
    asked, now = [], [0.0]

    def look(root):
        asked.append(root)
        return SEEN._replace(free_bytes=len(asked))

    readings, found = RootReadings("root", look=look, now=lambda: now[0]), []
    for now[0] in (0.0, 29.0, 30.0, 59.0, 60.0):
        found.append(readings.newest().free_bytes)

    assert found == [1, 1, 2, 2, 3]


def test_a_disk_that_stops_answering_is_not_waited_for_and_not_writable():
    answers, now, is_stuck = threading.Event(), [0.0], [False]

    def look(_root):
        if is_stuck[0]:
            answers.wait()
        return SEEN

    readings = RootReadings("root", look=look, now=lambda: now[0])
    assert readings.newest() == SEEN
    now[0], is_stuck[0] = 30.0, True
    try:
        assert readings.newest() == SEEN
        now[0] = 35.0
        assert readings.newest() == SEEN._replace(is_writable=False)
    finally:
        answers.set()


def test_a_disk_that_never_answered_shows_no_sizes():
    answers = threading.Event()

    def look(_root):
        answers.wait()
        return SEEN

    try:
        with pytest.raises(TimeoutError, match="does not answer"):
            RootReadings("root", look=look).newest()
    finally:
        answers.set()
