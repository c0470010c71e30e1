"""Who calls, and what a caller may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

_FOR_ANYBODY: Final = ("read", "replicate")
_OF_THIS_HOST: Final = ("unix:", "ipv4:127.", "ipv6:%5B::1%5D:", "ipv6:[::1]:")  # how gRPC begins the names of peers


class Scope(StrEnum):
    """What a right is for. None includes another."""

    READ = "read"
    """Rows of tables and their descriptions."""
    WRITE = "write"
    """Changes of what is served: attach, drop."""
    ADMIN = "admin"
    """The node itself: its state, and draining it."""
    REPLICATE = "replicate"
    """Whole blocks of versions and the map of all tables, for nodes that hold them too."""


class Caller(Protocol):
    """Who made a call, for as long as the call lasts. Belongs to the event loop."""

    name: str
    """What logs call it: never a secret."""
    key: str
    """Whose part of the node its work is counted to: its identity if it has shown one, else its connection."""

    def may(self, scope: Scope, table: str) -> bool:
        """Tell whether it has a right on a table, of which nothing else is known. Asked for each lookup."""
        ...

    def may_anywhere(self, scope: Scope) -> bool:
        """Tell whether it has a right on any table there could be, or on the node itself."""
        ...

    def may_everywhere(self, scope: Scope) -> bool:
        """Tell whether it has a right on every table there could be."""
        ...


class Anybody:
    """A caller of a node that asks nobody who they are: it may read, and change or see into the node from its own host.

    `connection` is the peer as gRPC names it.
    """

    def __init__(self, connection: str) -> None:
        self._is_on_this_host = connection.startswith(_OF_THIS_HOST)
        self.name = "anybody" if self._is_on_this_host else "anybody elsewhere"
        self.key = connection

    def fault(self, now: float) -> str:  # noqa: ARG002
        """Say why it may no longer call: it always may."""
        return ""

    def may(self, scope: Scope, table: str) -> bool:  # noqa: ARG002
        """See Caller.may."""
        return scope in _FOR_ANYBODY or self._is_on_this_host

    def may_anywhere(self, scope: Scope) -> bool:
        """See Caller.may_anywhere."""
        return self.may(scope, "")

    def may_everywhere(self, scope: Scope) -> bool:
        """See Caller.may_everywhere."""
        return self.may(scope, "")
