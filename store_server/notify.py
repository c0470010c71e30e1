"""What systemd is told of a node that it started with Type=notify: that it is ready, that it stops, that it is alive.

A message is a datagram to the socket that NOTIFY_SOCKET names. Where there is none, nobody listens and nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = structlog.get_logger()
_MICROSECONDS: Final = 1e6
_BEATS_A_LIMIT: Final = 2.5  # so that one late beat is no reason to kill a node


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceManager:
    """The one who started this process, and wants to know how it fares. A node runs as well without."""

    address: str = ""
    """Its socket; "" for nobody, a leading @ for a name that is no file."""
    watchdog_seconds: float | None = None
    """How long it waits for a sign of life before it takes the process for stuck; None for ever."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> ServiceManager:
        """Return the one that an environment names."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = is_meant and microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0
        seconds = int(microseconds) / _MICROSECONDS if watched else None
        return cls(address=environment.get("NOTIFY_SOCKET", ""), watchdog_seconds=seconds)

    def ready(self, status: str, is_alive: Callable[[], bool] = lambda: True) -> None:
        """Say that the node serves, and from now on that its event loop, the one that runs here, still turns.

        Not as long as `is_alive` denies that the node is.
        """
        self._tell(f"READY=1\nSTATUS={status}")
        if self.address and self.watchdog_seconds is not None:
            self._beat(asyncio.get_running_loop(), self.watchdog_seconds / _BEATS_A_LIMIT, is_alive)

    def stopping(self) -> None:
        """Say that the node ends, on whoever's wish. It goes on to say that it is alive."""
        self._tell("STOPPING=1\nSTATUS=draining")

    def _beat(self, loop: asyncio.AbstractEventLoop, seconds: float, is_alive: Callable[[], bool]) -> None:
        if is_alive():
            self._tell("WATCHDOG=1")
        loop.call_later(seconds, self._beat, loop, seconds, is_alive)

    def _tell(self, message: str) -> None:
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
                sending.setblocking(False)  # a node does not wait for who watches it
                sending.sendto(message.encode(), address)
        except OSError as error:
            log.warning("systemd could not be told", message=message.splitlines()[0], error=error.strerror)
