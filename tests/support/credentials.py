"""Files of credentials, and tokens that are in them."""

from pathlib import Path

from store_server.access.token import SecretHash, Token


class CredentialsOnDisk:
    """A file of credentials that a test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, str] = {}
        self._write()

    def add(self, name: str, scopes: str = "read", tables: str = "*", *, expires: str = "", token: Token | None = None):
        """Let a new token in, or another entry of the same one; scopes and tables are separated by spaces."""
        token = token or Token.new()
        lines = [f'id = "{token.id}"', f'hash = "{SecretHash.of(token.secret).text()}"', *_common(name, scopes, tables)]
        self._entries[token.id] = "\n".join(["[[token]]", *lines, *([f"expires = {expires}"] if expires else [])])
        self._write()
        return token

    def change(self, token: Token, old: str, new: str) -> None:
        """Write something else into the entry of a token."""
        assert old in self._entries[token.id]
        self._entries[token.id] = self._entries[token.id].replace(old, new)
        self._write()

    def add_certificate(self, name: str, matcher: str, scopes: str = "read", tables: str = "*") -> None:
        """Let the bearers of a certificate in; `matcher` is a line such as 'common_name = "x"'."""
        self._entries[matcher] = "\n".join(["[[certificate]]", matcher, *_common(name, scopes, tables)])
        self._write()

    def remove(self, token: Token) -> None:
        del self._entries[token.id]
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.touch(0o600)
        new.write_text("\n\n".join(self._entries.values()) + "\n")
        new.rename(self.path)


def bearer(token: Token) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that shows a token."""
    return (("authorization", f"Bearer {token.text()}"),)


def _common(name: str, scopes: str, tables: str) -> list[str]:
    return [f'name = "{name}"', f"scopes = {scopes.split()}", f"tables = {tables.split()}"]
