"""Tokens: what callers show to say who they are, and what a node keeps to know them by.

A token is `engram_<id>_<secret>`: scanners of secrets, and our own log, know one when they see it, and its entry is
found by an id that is no secret. Of the secret a node keeps a salted hash. It has 256 random bits, which nobody finds
by trying: so one round of SHA-256 is enough, where a password that people choose would need a slow hash, at each call.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_SALT_BYTES: Final = 16
_TOKEN: Final = re.compile(r"engram_([0-9a-f]{12})_([a-z2-7]{52})")
_ID: Final = re.compile(r"[0-9a-f]{12}")
_HASH: Final = re.compile(r"sha256:([0-9a-f]{32}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Token:
    """One token. Its secret is in none of the ways to print it but `text`."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Token:
        """Return one that nobody has seen."""
        secret = base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode().rstrip("=").lower()
        return cls(secrets.token_hex(_ID_BYTES), secret)

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """Return the token that a text is, None for any other text."""
        found = _TOKEN.fullmatch(text)
        return None if found is None else cls(*found.groups())

    def text(self) -> str:
        """Return the whole token, which is for its owner alone."""
        return f"engram_{self.id}_{self.secret}"


@dataclass(frozen=True, slots=True)
class SecretHash:
    """What is kept of a secret."""

    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, secret: str) -> SecretHash:
        """Return the hash of a secret, with a salt of its own."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(salt, _digest(salt, secret))

    @classmethod
    def parse(cls, text: str) -> SecretHash | None:
        """Return what `text` wrote, None for any other text."""
        found = _HASH.fullmatch(text)
        return None if found is None else cls(*map(bytes.fromhex, found.groups()))

    def text(self) -> str:
        """Return the hash as it is kept."""
        return f"sha256:{self.salt.hex()}:{self.digest.hex()}"

    def is_of(self, secret: str) -> bool:
        """Tell whether it is the hash of a secret, in a time that says nothing about where they differ."""
        return hmac.compare_digest(self.digest, _digest(self.salt, secret))


NOBODYS_HASH: Final = SecretHash(bytes(_SALT_BYTES), bytes(32))
"""Compared with where no token has an id: how long that takes is not to tell which ids there are."""


def is_token_id(text: str) -> bool:
    """Tell whether a text could be the id of a token."""
    return _ID.fullmatch(text) is not None


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
