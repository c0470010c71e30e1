"""Who is who by the credentials, and what becomes of them when those change."""

import datetime

import pytest
from support.credentials import CredentialsOnDisk

from store_server.access.caller import Scope
from store_server.access.certificate import Certificate
from store_server.access.credentials import parse_credentials
from store_server.access.known_callers import CERTIFICATE_UNKNOWN, NOTHING_SHOWN, TOKEN_UNKNOWN, KnownCallers
from store_server.access.shown import Shown, shown_by
from store_server.access.token import Token


@pytest.fixture
def written(tmp_path):
    return CredentialsOnDisk(tmp_path / "tokens.toml")


def read(written):
    return parse_credentials(written.path.read_bytes())


def certificate(*, common_name="", uri="", dns="", sha256="00" * 32):
    return Certificate(frozenset([common_name]), frozenset([uri]), frozenset([dns]), sha256, not_after=2e9)


def test_a_token_is_its_bearers(written):
    one, other = written.add("one"), written.add("other")
    known = KnownCallers(read(written))

    assert known.find(Shown(one)).name == "one"
    assert known.find(Shown(other)).name == "other"


def test_a_wrong_secret_and_an_unknown_id_are_told_the_same(written):
    token, stranger = written.add("one"), Token.new()
    known = KnownCallers(read(written))

    for wrong in (stranger, Token(token.id, stranger.secret), Token(stranger.id, token.secret)):
        assert known.find(Shown(wrong)) == TOKEN_UNKNOWN


def test_a_wrong_token_is_not_passed_over_for_a_right_certificate(written):
    written.add_certificate("node", 'common_name = "n"')
    known = KnownCallers(read(written))

    assert known.find(Shown(None, certificate(common_name="n"))).name == "node"
    assert known.find(Shown(Token.new(), certificate(common_name="n"))) == TOKEN_UNKNOWN


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ('common_name = "n"', {"common_name": "n"}),
        ('uri = "spiffe://prod/n"', {"uri": "spiffe://prod/n"}),
        ('dns = "n.example.org"', {"dns": "n.example.org"}),
        (f'sha256 = "{"ab" * 32}"', {"sha256": "ab" * 32}),
    ],
)
def test_a_certificate_is_known_by_what_its_entry_names(written, line, fits):
    written.add_certificate("node", line)
    known = KnownCallers(read(written))

    assert known.find(Shown(None, certificate(**fits))).name == "node"
    assert known.find(Shown(None, certificate(common_name="other"))) == CERTIFICATE_UNKNOWN


def test_all_that_an_entry_names_must_fit(written):
    written.add_certificate("node", 'common_name = "n"\ndns = "n.example.org"')
    known = KnownCallers(read(written))

    assert known.find(Shown(None, certificate(common_name="n"))) == CERTIFICATE_UNKNOWN
    assert known.find(Shown(None, certificate(common_name="n", dns="n.example.org"))).name == "node"


def test_who_shows_nothing_is_nobody(written):
    assert KnownCallers(read(written)).find(Shown()) == NOTHING_SHOWN


def test_rights_that_change_count_for_who_was_admitted_before(written):
    token = written.add("one", "read", "a/*")
    known = KnownCallers(read(written))
    caller = known.find(Shown(token))
    assert caller.may(Scope.READ, "a/1")
    assert not caller.may(Scope.READ, "b/1")

    written.change(token, "a/*", "b/*")
    changes = known.take(read(written))

    assert not caller.may(Scope.READ, "a/1")
    assert caller.may(Scope.READ, "b/1")
    assert caller.fault(0) == ""
    assert (list(changes.added), list(changes.removed), list(changes.changed)) == ([], [], [token.id])


def test_an_entry_that_goes_or_gets_another_secret_revokes_who_was_admitted_before(written):
    gone, replaced, kept = written.add("gone"), written.add("replaced"), written.add("kept")
    known = KnownCallers(read(written))
    before = [known.find(Shown(token)) for token in (gone, replaced, kept)]

    written.remove(gone)
    written.add("replaced", token=Token(replaced.id, Token.new().secret))
    changes = known.take(read(written))

    assert [bool(caller.fault(0)) for caller in before] == [True, True, False]
    assert known.find(Shown(gone)) == known.find(Shown(replaced)) == TOKEN_UNKNOWN
    assert known.find(Shown(kept)) is before[2]
    assert (list(changes.removed), list(changes.changed)) == ([gone.id], [replaced.id])


def test_an_identity_ends_at_its_time(written):
    token = written.add("one", expires="2027-01-31T00:00:00Z")
    caller = KnownCallers(read(written)).find(Shown(token))
    end = datetime.datetime(2027, 1, 31, tzinfo=datetime.UTC).timestamp()

    assert caller.fault(end - 1) == ""
    assert caller.fault(end) == "the credential of one expired at 2027-01-31T00:00:00+00:00"


def test_a_scope_includes_no_other_and_is_for_the_tables_of_its_patterns(written):
    token = written.add("one", "admin replicate", "a/*")
    caller = KnownCallers(read(written)).find(Shown(token))

    assert [scope for scope in Scope if caller.may(scope, "a/1")] == [Scope.ADMIN, Scope.REPLICATE]
    assert [scope for scope in Scope if caller.may(scope, "b")] == []
    assert [scope for scope in Scope if caller.may_anywhere(scope)] == [Scope.ADMIN, Scope.REPLICATE]


def test_made_up_names_of_tables_are_not_remembered_without_end(written):
    token = written.add("one")
    caller = KnownCallers(read(written)).find(Shown(token))

    for number in range(10_000):
        caller.may(Scope.READ, f"made-up-{number}")
    assert not caller.may(Scope.READ, "a" * 1_000_000)

    assert len(caller._remembered) <= 4096


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_is_read_from_the_header(scheme):
    token = Token.new()

    assert shown_by([("authorization", f"{scheme} {token.text()}")], {}) == Shown(token)


def test_a_header_that_holds_no_token_of_ours_is_a_fault_that_does_not_quote_it():
    token = Token.new().text()

    for headers in (["Basic YTpi"], [token], ["Bearer"], [f"Bearer {token}x"], [f"Bearer {token}"] * 2, [b"\xff"]):
        shown = shown_by([("authorization", header) for header in headers], {})
        assert shown.token is None
        assert shown.fault
        assert token[-20:] not in shown.fault
