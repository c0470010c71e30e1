"""Who may change a node, decided from who calls alone."""

import pytest

from store_server.access.caller import Anybody, Scope
from store_server.access.changes import why_no_change, why_no_change_at_all, why_no_drain
from store_server.access.credentials import TokenEntry
from store_server.access.identity import Identity
from store_server.access.rights import Rights
from store_server.access.token import SecretHash, Token


def somebody(scopes: str, *tables: str) -> Identity:
    token = Token.new()
    rights = Rights(tuple(map(Scope, scopes.split())), tables)
    return Identity(
        TokenEntry(name="somebody", rights=rights, expires=None, id=token.id, hash=SecretHash.of(token.secret))
    )


HERE = [Anybody("unix:"), Anybody("ipv4:127.0.0.1:5"), Anybody("ipv4:127.8.8.8:5"), Anybody("ipv6:%5B::1%5D:5")]
ELSEWHERE = [
    Anybody("ipv4:10.0.0.5:5"),
    Anybody("ipv4:192.168.127.0:5"),
    Anybody("ipv6:%5B::2%5D:5"),
    Anybody("ipv6:%5Bfe80::1%25eth0%5D:5"),
    Anybody("ipv6:%5B::ffff:10.0.0.5%5D:5"),
    Anybody(""),
]


@pytest.mark.parametrize(
    ("caller", "may_drain", "tables"),
    [
        *((caller, True, {"a/1", "b/1"}) for caller in HERE),
        *((caller, False, set()) for caller in ELSEWHERE),
        (somebody("admin", "*"), True, {"a/1", "b/1"}),
        (somebody("admin", "a/*", "*"), True, {"a/1", "b/1"}),
        (somebody("admin", "a/*"), False, {"a/1"}),
        (somebody("admin", "?"), False, set()),
        (somebody("admin", "*/*"), False, {"a/1", "b/1"}),
        (somebody("write", "*"), False, {"a/1", "b/1"}),
        (somebody("write", "b/?"), False, {"b/1"}),
        (somebody("read replicate", "*"), False, set()),
        (somebody("read write admin replicate"), False, set()),
    ],
)
def test_draining_takes_admin_on_everything_and_a_table_takes_write_or_admin_on_it(caller, may_drain, tables):
    assert (why_no_drain(caller) == "") == may_drain
    assert {table for table in ("a/1", "b/1") if not why_no_change(caller, table)} == tables


@pytest.mark.parametrize(
    ("caller", "may"),
    [
        (HERE[0], True),
        (ELSEWHERE[0], False),
        (somebody("write", "c"), True),
        (somebody("admin", "c"), True),
        (somebody("read replicate", "*"), False),
    ],
)
def test_who_may_change_no_table_at_all_is_found_before_anything_is_read(caller, may):
    assert (why_no_change_at_all(caller) == "") == may


def test_a_refusal_says_what_it_takes():
    assert why_no_drain(somebody("write", "*")) == (
        "somebody may not drain this node: that takes the scope admin on *, which whoever runs the node can give"
    )
    assert "write or admin on it" in why_no_change(somebody("read", "*"), "a/1")
    assert "from its own host alone" in why_no_change(ELSEWHERE[0], "a/1")
