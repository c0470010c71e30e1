"""Whom a node knows: the file of credentials, and what callers show to be one of them."""

from __future__ import annotations

import contextlib
import hashlib
import random
import tomllib
from pathlib import Path
from typing import Any, Final

from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.toml_text import hostile_toml
from fuzz.wire_bytes import hostile_bytes

from store_server.access.credentials import Credentials, InvalidCredentials, parse_credentials
from store_server.access.identity import Identity
from store_server.access.known_callers import KnownCallers
from store_server.access.shown import Shown, shown_by
from store_server.access.token import Token

TOKENS: Final = tuple(Token(f"{number:012x}", f"{letter * 50}27") for number, letter in enumerate("abc"))
"""Those whose entries the files begin with."""
_SALT: Final = bytes(range(16))


def hash_text(token: Token) -> str:
    """Return what a file holds of a token, by the words of the format alone."""
    return f"sha256:{_SALT.hex()}:{hashlib.sha256(_SALT + token.secret.encode()).hexdigest()}"


def entry(token: Token, *lines: str) -> str:
    """Return the entry of a token, and what it may do, in `lines`."""
    return "\n".join(("[[token]]", f'id = "{token.id}"', f'hash = "{hash_text(token)}"', *lines))


_READER: Final = ('name = "reader"', 'scopes = ["read"]', 'tables = ["m/*", "n"]')
_ADMIN: Final = ('name = "admin"', 'scopes = ["read", "write", "admin", "replicate"]', 'tables = ["*"]')
_CERTIFICATE: Final = ('[[certificate]]\nname = "node"\ndns = "a.example"\nscopes = ["replicate"]\ntables = ["*"]',)
_FILES: Final = (
    "\n".join((entry(TOKENS[0], *_READER), entry(TOKENS[1], *_ADMIN, "expires = 2027-01-31T00:00:00Z"))),
    "\n".join((entry(TOKENS[2], *_ADMIN), *_CERTIFICATE)),
)
_HINTS: Final = tuple(f'"{text}"' for token in TOKENS for text in (token.text(), token.id, hash_text(token)))


def tokens_target(_: Path) -> contextlib.AbstractContextManager[TryOne]:
    """Read files of credentials: who gets in is whom the text names with the hash of their secret, and nobody else."""
    return contextlib.nullcontext(_try_file)


def _try_file(rng: random.Random) -> str:
    content = hostile_toml(rng, _FILES, _HINTS)
    try:
        found = parse_credentials(content)
    except InvalidCredentials as error:
        _check_silent(str(error), content)
        return REFUSED
    _check_known(found, tomllib.loads(content.decode()), content)
    return ACCEPTED


def _check_silent(text: str, content: bytes) -> None:
    if any(token.secret in text for token in TOKENS):
        raise Wrong(f"{content!r:.2000}: a secret is told in {text!r:.500}")
    text.encode()


def _check_known(found: Credentials, plain: dict[str, Any], content: bytes) -> None:
    known = KnownCallers(found)
    named = {(entry["id"], entry["hash"]): entry for entry in plain.get("token", [])}
    for token in TOKENS:
        entry = named.get((token.id, hash_text(token)))
        identity = known.find(Shown(token))
        if isinstance(identity, Identity) != (entry is not None):
            raise Wrong(f"{content!r:.2000}: the token {token.id} is that of {identity}, by the text of {entry}")
        if entry is not None and {str(scope) for scope in found.tokens[token.id].rights.scopes} != set(entry["scopes"]):
            raise Wrong(f"{content!r:.2000}: other scopes than {entry['scopes']}")
    if len(found.entries()) != len(plain.get("token", [])) + len(plain.get("certificate", [])):
        raise Wrong(f"{content!r:.2000}: read were {found}")


def callers_target(_: Path) -> contextlib.AbstractContextManager[TryOne]:
    """Read headers that callers show: a token is shown by its very text behind the scheme, and by nothing else."""
    return contextlib.nullcontext(_try_headers)


def _try_headers(rng: random.Random) -> str:
    known = KnownCallers(parse_credentials(_FILES[0].encode()))
    headers = [_header(rng) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    shown = shown_by([("x", "y"), *(("authorization", header) for header in headers)], None)
    found, expected = known.find(shown), is_let_in(headers, TOKENS[:2])
    if isinstance(found, Identity) != expected:
        raise Wrong(f"{headers!r}: found {found}, and to be let in is {expected}")
    _check_silent(f"{shown!r} {shown.fault} {found}", repr(headers).encode())
    return ACCEPTED if expected else REFUSED


def is_let_in(headers: list[str | bytes], tokens: tuple[Token, ...]) -> bool:
    """Tell whether headers show one of the tokens, by what RFC 6750 says of them."""
    if len(headers) != 1:
        return False
    text = headers[0] if isinstance(headers[0], str) else headers[0].decode("latin-1")
    scheme, _, value = text.partition(" ")
    return scheme.lower() == "bearer" and value.strip() in {token.text() for token in tokens}


def hostile_header(rng: random.Random, token: Token) -> bytes:
    """Return what somebody shows who has this token, or nearly so."""
    right = f"Bearer {token.text()}".encode()
    match rng.randrange(6):
        case 0:
            return right
        case 1:
            return right.replace(b"Bearer", rng.choice((b"bearer", b"BEARER", b"Basic", b"", b"Bearer Bearer")))
        case 2:
            return right.replace(b" ", rng.choice((b"", b"  ", b"\t", b" , ")))
        case 3:
            return right[:-1] + rng.choice((b"a", b"", b"==", b" ", b"\xc3\xa9", b"8"))
        case 4:
            return right.replace(token.id.encode(), f"{rng.randrange(4):012x}".encode())
        case _:
            return hostile_bytes(rng, right)


def _header(rng: random.Random) -> str | bytes:
    data = hostile_header(rng, rng.choice(TOKENS))
    return data.decode("latin-1") if rng.random() < 0.8 else data
