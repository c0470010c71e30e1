"""The files behind tables in RAM: each worker gets the right one, and they go when nobody holds them."""

import errno
import os
import threading
from pathlib import Path

import pytest

from store_server.workers.channel import Channel
from store_server.workers.kept_files import AskedFiles, KeptFiles, WorkerGone

PATIENCE_SECONDS = 5


class Parent:
    """Keeps files, and answers in a thread as its event loop would."""

    def __init__(self):
        self.files = KeptFiles()
        self.answering = []

    def worker(self) -> tuple[AskedFiles, Channel]:
        end, its_end = Channel.pair()
        thread = threading.Thread(target=self._answer, args=(end,))
        thread.start()
        self.answering.append(thread)
        return AskedFiles(its_end), its_end

    def _answer(self, end):
        try:
            while True:
                self.files.answer(end)
        except WorkerGone:
            end.close()

    def wait(self):
        for thread in self.answering:
            thread.join(60)


@pytest.fixture
def parent():
    parent = Parent()
    yield parent
    parent.wait()
    parent.files.close()


def kept():
    """How many files this process has open for tables."""
    return len(kept_names())


def kept_names():
    paths = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    return [path.partition("memfd:")[2].removesuffix(" (deleted)") for path in paths if "memfd:engram-store" in path]


def identity(files, *key):
    file = files.file(*key)
    try:
        return os.fstat(file).st_ino
    finally:
        os.close(file)


def test_all_who_ask_for_a_version_get_the_same_file_and_another_for_another(parent):
    (one, its_end), (other, others_end) = parent.worker(), parent.worker()

    assert identity(one, "t", "v1") == identity(other, "t", "v1")
    assert len({identity(one, "t", "v1"), identity(one, "t", "v2"), identity(one, "u", "v1")}) == 3
    its_end.close()
    others_end.close()


def test_a_file_is_kept_until_the_last_who_holds_it_lets_go_or_ends(parent):
    (one, its_end), (other, others_end), (third, last_end) = parent.worker(), parent.worker(), parent.worker()
    first = identity(one, "t", "v")
    identity(one, "t", "v")  # held twice
    identity(other, "t", "v")

    one.let_go("t", "v")
    others_end.close()
    assert identity(third, "t", "v") == first
    third.let_go("t", "v")
    assert identity(one, "t", "v") == first
    assert kept() == 1
    its_end.close()
    parent.answering[0].join(60)
    parent.answering[1].join(60)
    assert kept() == 0
    last_end.close()


def test_a_parent_that_has_gone_is_an_error_and_lets_go_by_itself():
    end, its_end = Channel.pair()
    files = AskedFiles(its_end)
    end.close()

    files.let_go("t", "v")
    with pytest.raises(OSError, match="gone|pipe|reset"):
        files.file("t", "v")
    its_end.close()


def test_an_answer_that_comes_too_late_is_given_back_and_not_taken_for_the_next():
    end, its_end = Channel.pair()
    files, parent = AskedFiles(its_end), KeptFiles()
    its_end.set_timeout(0.01)
    end.set_timeout(PATIENCE_SECONDS)
    with pytest.raises(TimeoutError):
        files.file("t", "v1")
    parent.answer(end)
    expected = os.memfd_create("expected")
    end.send({"number": 2, "table": "t2", "version": "v"}, expected)

    found = files.file("t2", "v")

    assert os.path.sameopenfile(found, expected)
    assert kept() == 1  # the parent's own
    parent.answer(end)  # the second question
    parent.answer(end)  # that the first file is not wanted any more
    assert kept_names() == ["engram-store t2"]
    for file in (found, expected):
        os.close(file)
    parent.close()
    end.close()
    its_end.close()


def test_an_answer_without_its_descriptor_is_an_error_and_holds_nothing():
    """As the kernel hands it to a process that may open no more files."""
    end, its_end = Channel.pair()
    end.set_timeout(PATIENCE_SECONDS)
    end.send({"number": 1, "table": "t", "version": "v"})

    with pytest.raises(OSError, match="Too many open files") as failed:
        AskedFiles(its_end).file("t", "v")

    assert failed.value.errno == errno.EMFILE
    assert [end.receive().message["ask"] for _ in range(2)] == ["file", "let go"]
    end.close()
    its_end.close()
