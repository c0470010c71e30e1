"""Who a caller is, of those that the credentials name; and what becomes of them when the credentials change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from store_server.access.credentials import Credentials
from store_server.access.identity import Identity
from store_server.access.token import NOBODYS_HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_server.access.credentials import AnyEntry
    from store_server.access.shown import Shown
    from store_server.access.token import Token

NOTHING_SHOWN: Final = "this node asks who calls: show a token, or a client certificate, that it knows"
TOKEN_UNKNOWN: Final = "the token that was shown is not one that counts here: unknown, revoked or expired"  # noqa: S105
CERTIFICATE_UNKNOWN: Final = "the client certificate that was shown is not one that counts here: unknown or expired"


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of entries that came, went, or say something else now."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]


class KnownCallers:
    """Finds identities, without I/O. An entry keeps its identity for as long as its bearers show the same."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = Credentials({}, ())
        self._identities: dict[object, Identity] = {}
        self.take(credentials)

    def take(self, credentials: Credentials) -> Changes:
        """Go by other credentials from now on: who is not in them any more is revoked."""
        before = {entry.id: entry for entry in self._credentials.entries()}
        after = {entry.id: entry for entry in credentials.entries()}
        kept, self._identities = self._identities, {}
        for entry in credentials.entries():
            identity = kept.pop(entry.proof, None)
            if identity is None:
                identity = Identity(entry)
            elif before[entry.id] != entry:
                identity.take(entry)
            self._identities[entry.proof] = identity
        for identity in kept.values():
            identity.is_revoked = True
        self._credentials = credentials
        return _changes(before, after)

    def find(self, shown: Shown) -> Identity | str:
        """Return who shows this, or why that is nobody, in words that do not tell how near it came.

        A token goes before a certificate: who shows both has chosen, and a wrong one is not passed over.
        """
        if shown.fault:
            return shown.fault
        if shown.token is not None:
            return self._of_token(shown.token) or TOKEN_UNKNOWN
        if shown.certificate is None:
            return NOTHING_SHOWN
        entries = self._credentials.certificates
        found = next((entry for entry in entries if shown.certificate.fits(entry)), None)
        return CERTIFICATE_UNKNOWN if found is None else self._identities[found.proof]

    def _of_token(self, token: Token) -> Identity | None:
        entry = self._credentials.tokens.get(token.id)
        is_right = (NOBODYS_HASH if entry is None else entry.hash).is_of(token.secret)
        return self._identities[entry.proof] if entry is not None and is_right else None


def _changes(before: dict[str, AnyEntry], after: dict[str, AnyEntry]) -> Changes:
    return Changes(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(id_ for id_ in after.keys() & before.keys() if after[id_] != before[id_]),
    )
