"""Tokens by command: made, listed, revoked, and never told twice."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store_server.access import credential_editing
from store_server.access.caller import Scope
from store_server.access.credential_file import CredentialFile
from store_server.access.credentials import TokenEntry
from store_server.access.rights import Rights
from store_server.access.token import SecretHash, Token

NEW = ("--name", "inference-a", "--scope", "read", "--tables", "v41/*")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def entries(file: Path) -> list:
    return CredentialFile(file).first().entries()


def made(run: Callable, file: Path, *options: str) -> Token:
    ended = run("token", "new", file, *(options or NEW))
    assert ended.status == 0, ended.error
    return Token.parse(ended.out.removesuffix("\n"))


def test_a_new_token_is_printed_once_and_only_its_hash_is_kept(run: Callable, file: Path) -> None:
    token = made(run, file)

    [entry] = entries(file)
    assert (entry.id, entry.name, entry.rights.scopes, entry.rights.tables) == (
        token.id,
        "inference-a",
        (Scope.READ,),
        ("v41/*",),
    )
    assert entry.hash.is_of(token.secret)
    assert token.secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_may_have_several_scopes_and_patterns_and_an_end(run: Callable, file: Path) -> None:
    made(run, file, *NEW, "--scope", "replicate", "--tables", 'q"\\ü*', "--expires", "90d")

    [entry] = entries(file)
    assert entry.rights.scopes == (Scope.READ, Scope.REPLICATE)
    assert entry.rights.tables == ("v41/*", 'q"\\ü*')
    assert entry.expires - file.stat().st_mtime == pytest.approx(90 * 86400, abs=60)


def test_a_list_shows_each_without_a_secret(run: Callable, file: Path) -> None:
    one, other = made(run, file), made(run, file, *NEW, "--expires", "1h")

    listed = run("token", "list", file)

    first, second = listed.out.splitlines()
    assert first == f"{one.id}  inference-a  read  v41/*  never expires"
    assert second.startswith(f"{other.id}  inference-a  read  v41/*  expires 20")
    assert one.secret not in listed.out


def test_a_list_has_warnings_beside_it_and_not_in_it(run: Callable, file: Path) -> None:
    token = made(run, file)
    file.chmod(0o644)

    ended = run("token", "list", file)

    assert [line.split()[0] for line in ended.out.splitlines()] == [token.id]
    assert "open to others" in ended.err


def test_a_revoked_token_is_out_and_all_else_stays_as_it_was_written(run: Callable, file: Path) -> None:
    one, other = made(run, file), made(run, file)
    file.write_text(
        "# ours\n"
        + file.read_text()
        + "\n[[certificate]]\nname = 'n'\nscopes = [\n  'read',\n]\ntables = ['*']\ndns = 'x'\n"
    )

    revoked = run("token", "revoke", file, one.id)

    assert (revoked.status, revoked.out) == (0, f"revoked  {one.id}  inference-a\n")
    assert [entry.id for entry in entries(file)] == [other.id, "dns=x"]
    assert file.read_text().startswith("# ours\n")
    again = run("token", "revoke", file, one.id)
    assert (again.status, again.error) == (
        1,
        f"error: {file} has no token with the id {one.id}; `engram-store token list` shows those that it has",
    )


def test_a_token_pasted_in_place_of_an_id_is_not_repeated(run: Callable, file: Path) -> None:
    token = made(run, file)
    before = file.read_bytes()

    ended = [run("token", "revoke", file, given) for given in (token.text(), token.secret, f"{token.text()}x")]
    ended += [run("token", "list", file, token.text()), run("token", "revoke", file, token.id, token.text())]

    assert all(each.status != 0 and token.secret not in f"{each.out}{each.error}" for each in ended)
    assert f"its id is {token.id}: revoke that" in run("token", "revoke", file, token.text()).error
    assert file.read_bytes() == before


def test_a_file_that_is_not_right_is_left_as_it_is(run: Callable, file: Path) -> None:
    file.write_text("[[token]]\n")

    for arguments in (("new", file, *NEW), ("list", file), ("revoke", file, "0123456789ab")):
        ended = run("token", *arguments)
        assert (ended.status, "[[token]] 1: id must be" in ended.error) == (1, True)
    assert file.read_text() == "[[token]]\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((*NEW[:-1], ""), "each of tables must be a printable text"),
        ((*NEW, "--expires", "soon"), "must be hours, days or weeks"),
        ((*NEW, "--scope", "all"), "'all' is not one of"),
        (NEW[2:], "--name"),
    ],
)
def test_what_cannot_be_an_entry_is_refused(run: Callable, file: Path, options: tuple[str, ...], says: str) -> None:
    ended = run("token", "new", file, *options)

    assert ended.status in (1, 2)
    assert says in ended.error
    assert not file.exists()


def test_the_file_keeps_its_mode_and_a_link_to_it_stays_one(run: Callable, file: Path, tmp_path: Path) -> None:
    file.touch(0o640)
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)

    made(run, link)

    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert len(entries(file)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "tokens.toml"]


def test_several_commands_at_once_lose_no_entry(file: Path) -> None:
    new = [Token.new() for _ in range(20)]

    def add(token: Token) -> None:
        rights = Rights((Scope.READ,), ("*",))
        entry = TokenEntry(id=token.id, name="a", hash=SecretHash.of(token.secret), rights=rights)
        credential_editing.add_token(file, entry)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, new))

    assert {entry.id for entry in entries(file)} == {token.id for token in new}
