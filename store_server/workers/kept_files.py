"""The anonymous files behind tables in RAM: kept by the parent, so that they outlive a worker, and asked for by all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections import Counter
from typing import Final

from store_server.workers.channel import Channel, Message, Received

_ANSWER_SECONDS: Final = 10.0


class WorkerGone(Exception):
    """A worker has closed its end: nothing more comes from it."""


class KeptFiles:
    """The parent's side. A file is kept for as long as a worker holds it."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], int] = {}
        self._held: dict[Channel, Counter[tuple[str, str]]] = {}

    def answer(self, channel: Channel) -> None:
        """Answer what a worker has asked, which must have come; raises WorkerGone, and lets go of what it held."""
        try:
            received = channel.receive()
            if received is not None:
                self._answer(channel, received.message)
                return
        except BlockingIOError:
            return
        except OSError:  # it ended before it read the answer
            pass
        for key in self._held.pop(channel, Counter()):
            self._close_if_unheld(key)
        raise WorkerGone

    def close(self) -> None:
        """Let go of everything."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _answer(self, channel: Channel, asked: Message) -> None:
        key = (asked["table"], asked["version"])
        held = self._held.setdefault(channel, Counter())
        if asked["ask"] == "let go":
            held[key] -= 1
            self._close_if_unheld(key)
            return
        try:
            file = self._file(key)
        except OSError as error:
            channel.send({"number": asked["number"], "error": error.strerror})
            return
        held[key] += 1
        channel.send({"number": asked["number"], "table": key[0], "version": key[1]}, file)

    def _file(self, key: tuple[str, str]) -> int:
        if key not in self._files:
            name = f"engram-store {key[0]}"[:200]
            self._files[key] = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        return self._files[key]

    def _close_if_unheld(self, key: tuple[str, str]) -> None:
        if key in self._files and not any(held[key] > 0 for held in self._held.values()):
            os.close(self._files.pop(key))


class AskedFiles:
    """A worker's side: asks the parent. Threads may share it. See storage.shared_memory.FileKeeper."""

    def __init__(self, channel: Channel) -> None:
        channel.set_timeout(_ANSWER_SECONDS)
        self._channel = channel
        self._asking = threading.Lock()
        self._numbers = itertools.count(1)

    def file(self, table: str, version: str) -> int:
        """Return a descriptor of the version's file, which the caller closes. Raises OSError."""
        number = next(self._numbers)
        with self._asking:
            self._channel.send({"ask": "file", "number": number, "table": table, "version": version})
            received = self._answer_to(number)
        if "error" in received.message:
            raise OSError(received.message["error"])
        if not received.descriptors:  # the kernel drops what there is no room for
            self.let_go(table, version)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return received.descriptors[0]

    def let_go(self, table: str, version: str) -> None:
        """Say that the file is not wanted here any more. A parent that has gone keeps nothing."""
        with self._asking:
            self._send_let_go(table, version)

    def _answer_to(self, number: int) -> Received:
        """Return the answer to a question; one that comes too late for another is given back."""
        while (received := self._channel.receive()) is not None:
            if received.message["number"] == number:
                return received
            for late in received.descriptors:
                os.close(late)
            if "error" not in received.message:
                self._send_let_go(received.message["table"], received.message["version"])
        raise OSError("the parent has gone")

    def _send_let_go(self, table: str, version: str) -> None:
        with contextlib.suppress(OSError):
            self._channel.send({"ask": "let go", "table": table, "version": version})
