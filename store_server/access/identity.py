"""Somebody whom the node knows, for as long as it knows them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

from store_server.access.rights import EVERYTHING, NONE
from store_server.storage.names import MAX_NAME_CHARACTERS

if TYPE_CHECKING:
    from store_server.access.caller import Scope
    from store_server.access.credentials import Entry

_MOST_REMEMBERED: Final = 4096  # tables; beyond are names that somebody made up


class Identity:
    """A Caller: one entry of the credentials, shared by all calls that showed it.

    What they may do changes with the entry, also in the middle of a stream.
    """

    def __init__(self, entry: Entry) -> None:
        self.is_revoked = False
        self._remembered: dict[str, tuple[Scope, ...]] = {}
        self.take(entry)

    def take(self, entry: Entry) -> None:
        """Be what an entry says from now on."""
        self.name, self.key = entry.name, f"identity:{entry.name}"
        self._entry, self._rights = entry, entry.rights
        self._remembered.clear()

    def may(self, scope: Scope, table: str) -> bool:
        """See Caller.may."""
        scopes = self._remembered.get(table)
        return scope in (self._looked_up(table) if scopes is None else scopes)

    def may_anywhere(self, scope: Scope) -> bool:
        """See Caller.may_anywhere."""
        return scope in self._rights.scopes

    def may_everywhere(self, scope: Scope) -> bool:
        """See Caller.may_everywhere: by a pattern that says so."""
        return scope in self._rights.scopes and EVERYTHING in self._rights.tables

    def fault(self, now: float) -> str:
        """Say why who showed it may no longer call, "" if they may; `now` in seconds since 1970."""
        if self.is_revoked:
            return f"the credential of {self.name} was revoked or replaced"
        if self._entry.expires is not None and now >= self._entry.expires:
            ended = datetime.datetime.fromtimestamp(self._entry.expires, datetime.UTC).isoformat(timespec="seconds")
            return f"the credential of {self.name} expired at {ended}"
        return ""

    def _looked_up(self, table: str) -> tuple[Scope, ...]:
        if len(table) > MAX_NAME_CHARACTERS:  # no table's, and nothing to remember
            return NONE
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        found = self._remembered[table] = self._rights.on(table)
        return found
