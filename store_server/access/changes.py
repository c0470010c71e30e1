"""Who may change a node by a call: decided from who calls alone, before anything is looked at.

A caller that was identified needs the scope for it. Of a node that knows nobody, those on its own host count as its
operators and have every scope (see Anybody); nobody else has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from store_server.access.caller import Anybody, Scope

if TYPE_CHECKING:
    from store_server.access.caller import Caller

_ELSEWHERE: Final = (
    "a node without --tokens is changed from its own host alone: call from there, or give the node --tokens"
)
_CHANGING: Final = (Scope.WRITE, Scope.ADMIN)


def why_no_drain(caller: Caller) -> str:
    """Return why a caller may not have the node drained, "" if it may: that takes `admin` on all tables there are."""
    return _refusal(caller, "drain this node", "admin on *", is_allowed=caller.may_everywhere(Scope.ADMIN))


def why_no_change(caller: Caller, table: str) -> str:
    """Return why a caller may not attach or drop a table, "" if it may: that takes `write` or `admin` on it."""
    is_allowed = any(caller.may(scope, table) for scope in _CHANGING)
    return _refusal(caller, f"change table {table!r}", "write or admin on it", is_allowed=is_allowed)


def why_no_change_at_all(caller: Caller) -> str:
    """Return why a caller may attach or drop no table there could be, "" if it may some."""
    is_allowed = any(caller.may_anywhere(scope) for scope in _CHANGING)
    return _refusal(caller, "change tables", "write or admin", is_allowed=is_allowed)


def _refusal(caller: Caller, change: str, needed: str, *, is_allowed: bool) -> str:
    if is_allowed:
        return ""
    if isinstance(caller, Anybody):
        return _ELSEWHERE
    return f"{caller.name} may not {change}: that takes the scope {needed}, which whoever runs the node can give"
