"""Where a node listens: an address of this host, or the path of a Unix socket."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final

UNIX: Final = "unix://"
ANY_HOST: Final = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened on
_HIGHEST_PORT: Final = 65535
_WHAT_TO_DO: Final = {
    errno.EADDRINUSE: "end the process that listens there, or choose another port",
    errno.EADDRNOTAVAIL: "it is not one of this host's",
    errno.EACCES: "ports below 1024 are for root, and the directory of a Unix socket must be one that may be written",
}
# A name may stand for addresses of a kind that this host has not, such as ::1 where there is no IPv6.
_NOT_OF_THIS_HOST: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT))


class CannotListen(Exception):
    """The address is taken, or not one of this host."""

    def __init__(self, listen: str, reason: object) -> None:
        """Use what an OSError says of itself, and what to do about it, if that is why."""
        if isinstance(reason, OSError):
            advice = _WHAT_TO_DO.get(reason.errno or 0)
            reason = f"{reason.strerror or reason}{f': {advice}' if advice else ''}"
        super().__init__(f"cannot listen on {listen}: {reason}")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """HOST:PORT or unix:///PATH. An IPv6 address may stand in brackets; `host` is without them, "" for a path."""

    text: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, name: str = "listen") -> ListenAddress:
        """Raises ValueError, which calls the setting by its `name`."""
        if text.startswith(f"{UNIX}/") and len(text) > len(UNIX) + 1:
            return cls(text, "", 0)
        host, _, port = text.rpartition(":")
        if (
            not host.strip("[]")
            or "/" in text
            or not (port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT)
        ):
            raise ValueError(f"{name} must be HOST:PORT with a port of 0 to 65535, or unix:///PATH, got {text!r}")
        return cls(text, host.strip("[]"), int(port))

    @property
    def path(self) -> str:
        """The path of the Unix socket, "" for a port."""
        return self.text.removeprefix(UNIX) if self.host == "" else ""

    @property
    def is_of_this_host(self) -> bool:
        """Whether it surely cannot be reached from another host."""
        return bool(self.path) or _is_loopback(self.host)

    def of_worker(self, number: int) -> str:
        """Return where a worker of a node at this address listens: some ports on, or at the path with a number added.

        The first, number 0, is at this very address; port 0 stays 0. Raises ValueError for a port that none can have.
        """
        if self.path:
            return f"{self.text}.{number}" if number else self.text
        port = self.port + number if self.port else 0
        if port > _HIGHEST_PORT:
            raise ValueError(f"worker {number} would listen on port {port}, above {_HIGHEST_PORT}; got {self.text!r}")
        return self.for_clients(port)

    def for_grpc(self) -> str:
        """Return the address as gRPC takes it."""
        return f"unix:{self.path}" if self.path else self.for_clients(self.port)

    def for_clients(self, port: int) -> str:
        """Return what clients connect to once `port` was picked."""
        if self.path:
            return self.text
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def require_free(self) -> None:
        """Raise CannotListen if this address cannot be had; may ask a name server.

        gRPC finds out late, says why in several lines of its own log and, for a Unix socket, takes it from the other.
        """
        try:
            if self.path:
                self._require_nobody_answers()
            else:
                self._require_one_that_can_be_bound()
        except OSError as error:
            raise CannotListen(self.text, error) from error

    def _require_nobody_answers(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            # gRPC would take the path from a node that is alive; it may take it from one that is dead.
            if probe.connect_ex(self.path) == 0:
                raise CannotListen(self.text, "another process does: end it, or choose another path")

    def _require_one_that_can_be_bound(self) -> None:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        tried = [_try_to_bind(family, kind, address) for family, kind, _, _, address in found]
        missing = [error for error in tried if error is not None]
        if len(missing) == len(found):
            raise missing[0]


def is_of_this_host(address: str) -> bool:
    """Tell whether a gRPC target surely leads no further than this host: a loopback address, a Unix socket."""
    return address.startswith("unix:") or _is_loopback(address.rpartition(":")[0].strip("[]"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _try_to_bind(family: socket.AddressFamily, kind: socket.SocketKind, address: object) -> OSError | None:
    """Return why this host has no such address, None if it can be listened on; raises OSError if it is taken."""
    try:
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does: a port just left may be had
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)  # type: ignore[arg-type]  # what getaddrinfo returned
            probe.listen()
    except OSError as error:
        if error.errno not in _NOT_OF_THIS_HOST:
            raise
        return error
    return None
