"""Certificates for a day, by openssl."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

PROGRAM = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(PROGRAM is None, reason="needs openssl (Debian: apt-get install openssl)")
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")


class Certificate(NamedTuple):
    """Files of a certificate and its key."""

    cert: Path
    key: Path


def make_authority(folder: Path, name: str) -> Certificate:
    """Make one that signs others."""
    return _make(folder, name)


def make_certificate(folder: Path, name: str, authority: Certificate) -> Certificate:
    """Make one for 127.0.0.1, signed by `authority`."""
    signed = ("-CA", str(authority.cert), "-CAkey", str(authority.key))
    return _make(folder, name, "-addext", "subjectAltName=IP:127.0.0.1", *signed)


def _make(folder: Path, name: str, *options: str) -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    files = ("-keyout", str(made.key), "-out", str(made.cert), "-subj", f"/CN={name}")
    subprocess.run([PROGRAM, "req", "-x509", *_NEW_KEY, *files, *options], check=True, capture_output=True)
    return made
