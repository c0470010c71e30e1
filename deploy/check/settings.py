"""Whether a node takes the arguments that it would be started with: `config check` reads them, on made-up files."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LISTENING: Final = re.compile(r"(--(?:admin-|metrics-|health-)?listen=.*):[0-9]+")
_OF_THE_MACHINE: Final = ("--pin-cores=", "--numa-nodes=")
_OF_THE_ROOT: Final = "--in-memory="
_OF_A_NODE: Final = "ENGRAM_"
_SECONDS: Final = 60.0
_SOUND: Final = "settings are sound"


def problems(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    node: Sequence[str] = (sys.executable, "-m", "store_server"),
    timeout_seconds: float = _SECONDS,
) -> Iterator[str]:
    """Say what a node has against its arguments, `serve` and a data root first, and its variables.

    Files are replaced by others of their kind, ports by free ones, cores and NUMA nodes by those of this machine.
    `node` is the program that is asked.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OF_A_NODE)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root" / "tables").mkdir(parents=True)
        command = [*node, "config", "check", str(folder / "root"), *_elsewhere(arguments[2:], folder)]
        variables = inherited | dict(_variables_elsewhere(environment or {}, folder))
        try:
            checked = subprocess.run(  # noqa: S603  # ourselves
                command, env=variables, capture_output=True, text=True, timeout=timeout_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            yield f"config check: no answer within {timeout_seconds:g} s"
            return
    found = checked.stdout.splitlines()
    if checked.returncode == 0 and found == [_SOUND]:
        return
    if checked.returncode == 0 or not found:  # it did not come to an answer
        found = [f"exit status {checked.returncode}, {checked.stdout.strip()!r}", *checked.stderr.strip().splitlines()]
    yield from (f"config check: {line}" for line in found)


def _elsewhere(arguments: Sequence[str], folder: Path) -> Iterator[str]:
    is_placed = any(argument.startswith(_OF_THE_MACHINE) for argument in arguments)
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument.startswith(_OF_THE_ROOT):
            continue
        if argument.startswith(_OF_THE_MACHINE):
            yield f"{name}={min(os.sched_getaffinity(0)) if name == '--pin-cores' else 0}"
        elif is_placed and name == "--workers":
            yield "--workers=1"
        elif value.startswith("/"):
            yield f"{name}={_file_like(Path(value), folder)}"
        else:
            yield _LISTENING.sub(r"\1:0", argument).replace("$(POD_NAMESPACE)", "engram").replace("$(POD_NAME)", "n-0")


def _variables_elsewhere(environment: Mapping[str, str], folder: Path) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        option = f"--{name.removeprefix(_OF_A_NODE).lower().replace('_', '-')}={value}"
        for replaced in _elsewhere([option], folder):
            yield name, replaced.partition("=")[2]


def _file_like(path: Path, folder: Path) -> Path:
    """Make the file that an option names, by its last name, with all that belongs to it beside it."""
    if not (folder / "tls.crt").exists():
        _make_certificate(folder)
        (folder / "tokens.toml").touch(mode=0o600)
        (folder / "token").write_text("a-token-of-a-node")
    return folder / path.name


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (folder / "tls.crt").write_bytes(made)
    (folder / "ca.crt").write_bytes(made)
    plain = serialization.NoEncryption()
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    (folder / "tls.key").chmod(0o600)
