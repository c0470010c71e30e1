"""Certificates that have expired, as `config check` finds them before a node is started with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.certificates import Certificate, make_authority, make_certificate, make_expired
from support.rows import random_rows
from support.tables import write_table

LISTEN = "127.0.0.1:0"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    write_table(tmp_path / "root", "layer-1", random_rows(100, 8))
    return tmp_path / "root"


def test_a_check_finds_certificates_that_have_expired_with_which_a_node_would_start(
    run: Callable, served: Path, tmp_path: Path
) -> None:
    authority = make_authority(tmp_path, "authority")
    old, new = make_expired(tmp_path, "old", authority), make_certificate(tmp_path, "new", authority)

    def problems(own: Certificate) -> list[str]:
        given = ("--listen", LISTEN, "--tls-cert", own.cert, "--tls-key", own.key)
        return run("config", "check", served, *given).out.splitlines()

    (problem,) = problems(old)
    assert re.fullmatch(
        f"--tls-cert {old.cert}: the certificate expired at .*, whom it is shown to refuses it; .*", problem
    )
    assert problems(new) == ["settings are sound"]


def test_authorities_of_whom_one_is_over_are_sound_and_all_are_not(run: Callable, served: Path, tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "authority")
    own, bundle = make_certificate(tmp_path, "own", authority), tmp_path / "bundle.pem"
    over = [make_expired(tmp_path, name, authority).cert.read_bytes() for name in ("one", "another")]

    def problems(*certificates: bytes) -> list[str]:
        bundle.write_bytes(b"".join(certificates))
        given = ("--listen", LISTEN, "--tls-cert", own.cert, "--tls-key", own.key, "--tls-client-ca", bundle)
        return run("config", "check", served, *given).out.splitlines()

    assert problems(*over, authority.cert.read_bytes()) == ["settings are sound"]
    (problem,) = problems(*over)
    assert re.fullmatch(f"--tls-client-ca {bundle}: all in it expired, the last at .*; renew them", problem)


def test_of_a_certificate_with_those_that_signed_it_the_first_counts(
    run: Callable, served: Path, tmp_path: Path
) -> None:
    authority = make_authority(tmp_path, "authority")
    own, old = make_certificate(tmp_path, "own", authority), make_expired(tmp_path, "old", authority)
    own.cert.write_bytes(own.cert.read_bytes() + old.cert.read_bytes())

    checked = run("config", "check", served, "--listen", LISTEN, "--tls-cert", own.cert, "--tls-key", own.key)

    assert checked.out == "settings are sound\n"
