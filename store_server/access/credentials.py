"""Whom a node knows: the TOML file of `--tokens`, read with suspicion. No secret in it is quoted in what is wrong.

[[token]]
id = "3f9a0c1d2e4b"
name = "inference-a"
hash = "sha256:<salt>:<digest>"
scopes = ["read"]
tables = ["v41/*"]
expires = 2027-01-31T00:00:00Z        # may be left out

[[certificate]]                       # one that the listener has verified, see --tls-client-ca
name = "memory-2"
dns = "memory-2.example.org"          # or uri, common_name, sha256; all that are given must fit
scopes = ["read", "replicate"]
tables = ["*"]
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from store_server.access.caller import Scope
from store_server.access.redaction import masked
from store_server.access.rights import Rights
from store_server.access.token import SecretHash, is_token_id

MOST_BYTES: Final = 4 << 20
_NAMES: Final = ("common_name", "uri", "dns", "sha256")
_COMMON: Final = {"name", "scopes", "tables", "expires"}
_KEYS: Final = {"token": _COMMON | {"id", "hash"}, "certificate": _COMMON | set(_NAMES)}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MOST_CHARACTERS: Final = 500


class InvalidCredentials(ValueError):
    """The file does not say whom the node knows; the message says where and why, and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Somebody, and what they may do."""

    name: str
    rights: Rights
    expires: float | None = None
    """Seconds since 1970; None for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEntry(Entry):
    """Known by a token."""

    id: str
    hash: SecretHash

    @property
    def proof(self) -> object:
        """What their bearer has to show: with another one it is somebody else's."""
        return self.id, self.hash


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEntry(Entry):
    """Known by a client certificate, of which everything that is not "" must be so."""

    common_name: str = ""
    uri: str = ""
    dns: str = ""
    sha256: str = ""

    @property
    def id(self) -> str:
        """What tells it from the others, for people too."""
        given = {"common_name": self.common_name, "uri": self.uri, "dns": self.dns, "sha256": self.sha256}
        return " ".join(f"{key}={value}" for key, value in given.items() if value)

    @property
    def proof(self) -> object:
        """See TokenEntry.proof."""
        return self.id


AnyEntry: TypeAlias = TokenEntry | CertificateEntry


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everybody whom a node knows. The first certificate that fits counts."""

    tokens: Mapping[str, TokenEntry]
    certificates: Sequence[CertificateEntry]

    def entries(self) -> list[AnyEntry]:
        """Return all of them."""
        return [*self.tokens.values(), *self.certificates]


def parse_credentials(content: bytes) -> Credentials:
    """Return what a file says. Raises InvalidCredentials."""
    if len(content) > MOST_BYTES:
        raise InvalidCredentials(f"expected at most {MOST_BYTES:,} bytes, found {len(content):,}")
    try:
        found = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # whole numbers of thousands of digits, too
        raise InvalidCredentials(f"is not TOML: {masked(str(error)):.200}") from error
    if unknown := found.keys() - _KEYS.keys():
        raise InvalidCredentials(f"expected [[token]] and [[certificate]], found {_quoted(unknown)}")
    tokens = [_token(number, table) for number, table in _tables(found, "token")]
    certificates = [_certificate(number, table) for number, table in _tables(found, "certificate")]
    for kind, ids in (("token", [each.id for each in tokens]), ("certificate", [each.id for each in certificates])):
        if twice := {each for each, times in Counter(ids).items() if times > 1}:
            raise InvalidCredentials(f"there are two [[{kind}]] of {_quoted(twice)}")
    return Credentials({token.id: token for token in tokens}, tuple(certificates))


def _tables(found: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    given = found.get(kind, [])
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        raise InvalidCredentials(f"{kind} must be written as [[{kind}]], a table each")
    for number, table in enumerate(given, 1):
        if unknown := table.keys() - _KEYS[kind]:
            wanted = ", ".join(sorted(_KEYS[kind]))
            raise InvalidCredentials(f"[[{kind}]] {number}: expected {wanted}, found {_quoted(unknown)}")
    return [(f"[[{kind}]] {number}", table) for number, table in enumerate(given, 1)]


def _token(where: str, table: Mapping[str, Any]) -> TokenEntry:
    id_ = _text(where, table, "id")
    if not is_token_id(id_):
        raise InvalidCredentials(f"{where}: id must be 12 digits of 0-9 and a-f, as `engram-store token new` makes it")
    hashed = SecretHash.parse(_text(where, table, "hash"))
    if hashed is None:
        raise InvalidCredentials(
            f"{where}: hash must be sha256:SALT:DIGEST, as `engram-store token new` writes it; a token itself does not "
            "belong into this file"
        )
    return TokenEntry(id=id_, hash=hashed, **_common(where, table))


def _certificate(where: str, table: Mapping[str, Any]) -> CertificateEntry:
    given: dict[str, Any] = {key: _text(where, table, key) for key in _NAMES if key in table}
    if not given:
        raise InvalidCredentials(f"{where}: must say which: common_name, uri, dns or sha256")
    if "sha256" in given:
        given["sha256"] = given["sha256"].replace(":", "").lower()
        if not _SHA256.fullmatch(given["sha256"]):
            raise InvalidCredentials(f"{where}: sha256 must be 64 digits of 0-9 and a-f, colons between them or not")
    return CertificateEntry(**given, **_common(where, table))


def _common(where: str, table: Mapping[str, Any]) -> dict[str, Any]:
    scopes = [_scope(where, text) for text in _texts(where, table, "scopes")]
    rights = Rights(tuple(dict.fromkeys(scopes)), tuple(_texts(where, table, "tables")))
    return {"name": _text(where, table, "name"), "rights": rights, "expires": _expires(where, table.get("expires"))}


def _scope(where: str, text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        raise InvalidCredentials(f"{where}: a scope is one of {', '.join(Scope)}, found {masked(text)!r:.50}") from None


def _expires(where: str, given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, datetime.datetime) and given.tzinfo is not None:
        return given.timestamp()
    raise InvalidCredentials(f"{where}: expires must be a time with its offset, such as 2027-01-31T00:00:00Z")


def _text(where: str, table: Mapping[str, Any], key: str) -> str:
    return _checked(f"{where}: {key}", table.get(key))


def _texts(where: str, table: Mapping[str, Any], key: str) -> list[str]:
    given = table.get(key)
    if not isinstance(given, list) or not given:
        raise InvalidCredentials(f"{where}: {key} must be a list of at least one text")
    return [_checked(f"{where}: each of {key}", each) for each in given]


def _checked(what: str, given: object) -> str:
    if not isinstance(given, str) or not given or not given.isprintable() or len(given) > _MOST_CHARACTERS:
        raise InvalidCredentials(f"{what} must be a printable text of 1 to {_MOST_CHARACTERS} characters")
    return given


def _quoted(names: set[str]) -> str:
    return ", ".join(f"{masked(name)!r:.100}" for name in sorted(names))
