"""Files of a token, certificates and a key, looked at again while a program runs, on either side of the wire."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

LOOK_SECONDS: Final = 1.0
_LONGEST_TOKEN: Final = 4096
_OWN_PREFIX: Final = "engram_"
_OWN_CHARACTERS: Final = 72
_MOST_FILE_BYTES: Final = 1 << 20
_TRIES: Final = 3
_Signature: TypeAlias = tuple[tuple[int, ...] | None, ...]


class CredentialsRefused(Exception):
    """A file cannot be used as it is; says which and why, and nothing of what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialPaths:
    """Where a token, the certificates of those to be trusted, and a certificate with its key are."""

    token: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def all(self) -> list[Path]:
        """Return those that are given."""
        return [path for path in (self.token, self.ca, self.cert, self.key) if path is not None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Credentials:
    """What the files held at one moment: equal to itself alone, and silent about what it is."""

    token: str | None = None
    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None


class CredentialFiles:
    """Gives what is in the files, and from the next look on what is in them after they were replaced.

    What cannot be used, such as a key that belongs to another certificate, is not taken: what was read before stays.
    Once it has been so for a second, `refused` is told, with a sentence; before, the files may just be in the middle of
    being replaced. `check_next` raises CredentialsRefused for what may not take the place of what is used. For any
    thread.
    """

    def __init__(
        self,
        paths: CredentialPaths,
        *,
        token: str | None = None,
        refused: Callable[[str], None] = lambda _: None,
        check_next: Callable[[Credentials], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_refused = 0
        """How often files were changed to something that cannot be used."""
        self.are_refused = False
        """Whether that is how they are now."""
        self._paths = paths
        self._token = token
        self._refused = refused
        self._check_next = check_next
        self._now = now
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._seen: _Signature = ()  # of the files as they were taken, or refused
        self._doubted: _Signature = ()
        self._doubted_since = 0.0
        self._next_look = -1.0

    def newest(self) -> Credentials:
        """Return what is to be used now, after a look at the files if the last one is a second ago.

        Raises CredentialsRefused as long as they never could be used.
        """
        current = self._current
        if current is not None and self._now() < self._next_look:
            return current
        return self.look()

    def look(self) -> Credentials:
        """Return the same after a look in any case."""
        with self._lock:
            self._next_look = self._now() + LOOK_SECONDS
            if self._current is None:
                self._current, self._seen = self._settled()
            elif (found := self._signature()) != self._seen:
                self._take(found)
            return self._current

    def _take(self, found: _Signature) -> None:
        try:
            read, seen = self._settled()
            self._check_next(read)
            self._current, self._seen, self.are_refused = read, seen, False
        except CredentialsRefused as error:
            if found != self._doubted:
                self._doubted, self._doubted_since = found, self._now()
            if self._now() < self._doubted_since + LOOK_SECONDS:
                return
            self._seen = found
            self.num_refused += 1
            self.are_refused = True
            self._refused(str(error))

    def _settled(self) -> tuple[Credentials, _Signature]:
        """Read files that nobody changes meanwhile, with what tells them from later ones."""
        for _ in range(_TRIES):
            before = self._signature()
            read = self._read()
            if self._signature() == before:
                return read, before
        raise CredentialsRefused(f"{_listed(self._paths.all())}: changed again and again while being read")

    def _signature(self) -> _Signature:
        return tuple(_signature(path) for path in self._paths.all())

    def _read(self) -> Credentials:
        paths = self._paths
        if paths.ca is not None:
            _check_authorities(paths.ca)
        if paths.cert is not None and paths.key is not None:
            _check_pair(paths.cert, paths.key)
        return Credentials(
            token=self._token if paths.token is None else _token_in(paths.token),
            ca=None if paths.ca is None else _content(paths.ca),
            cert=None if paths.cert is None else _content(paths.cert),
            key=None if paths.key is None else _content(paths.key),
        )


def why_no_token(text: str) -> str | None:
    """Return why a text is no token that can be sent, None if it is one."""
    if not 0 < len(text) <= _LONGEST_TOKEN:
        return f"it has {len(text)} characters, and 1 to {_LONGEST_TOKEN} are possible"
    if not all("!" <= character <= "~" for character in text):
        return "it has blanks, line breaks or characters beyond ASCII"
    # Others' tokens, for a proxy before the nodes, may be of any form.
    if text.startswith(_OWN_PREFIX) and len(text) != _OWN_CHARACTERS:
        return f"one of {_OWN_PREFIX}... has {_OWN_CHARACTERS} characters, and this one {len(text)}: was it cut?"
    return None


def _token_in(path: Path) -> str:
    text = _content(path).decode("utf-8", "replace").strip()
    if (reason := why_no_token(text)) is not None:
        raise CredentialsRefused(f"{path} holds no token: {reason}")
    return text


def _check_authorities(path: Path) -> None:
    try:
        # It takes text of ASCII alone; other characters may stand in remarks between certificates.
        text = _content(path).decode("ascii", "replace").replace("\ufffd", "?")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:  # ValueError if there is nothing in it
        raise CredentialsRefused(f"{path} holds no certificates in PEM format") from error


def _check_pair(cert: Path, key: Path) -> None:
    for path in (cert, key):
        _content(path)  # says which of them cannot be read
    try:
        # With a password at hand nobody is asked for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="-")  # noqa: S106
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CredentialsRefused(f"the key in {key} is not that of the certificate in {cert}") from error
        reason = error.reason or "not in PEM format, or the key has a password"
        raise CredentialsRefused(f"{cert} and {key} are no certificate and its key: {reason}") from error
    except OSError as error:
        raise CredentialsRefused(f"{_listed([cert, key])} cannot be read: {error.strerror}") from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_FILE_BYTES + 1)
    except OSError as error:
        raise CredentialsRefused(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_FILE_BYTES:
        raise CredentialsRefused(f"{path} has more than {_MOST_FILE_BYTES:,} bytes")
    return content


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _listed(paths: list[Path]) -> str:
    return ", ".join(map(str, paths))
