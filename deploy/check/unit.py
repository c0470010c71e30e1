"""The unit of systemd and the settings beside it."""

from __future__ import annotations

import re
import shlex
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from check.conventions import PORTS
from check.options import too_short, unknown_options, wrong_ports
from check.programs import complaints, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOST_EXPOSURE: Final = 15  # of 100, as `systemd-analyze security` counts
_PROGRAM: Final = "/opt/engram-store/bin/engram-store"
_WANTED: Final = {
    "Type": r"notify",
    "NotifyAccess": r"main",
    "WatchdogSec": r"[1-9]\d*",
    "LimitNOFILE": r"\d{5,}",
    "MemoryMax": r"\d+%",
    "MemoryHigh": r"\d+%",
    "OOMPolicy": r"continue",
    "OOMScoreAdjust": r"-\d+",
    "Restart": r"on-failure",
    "User": r"engram-store",
    "TimeoutStopSec": r"\d+",
}


def problems(deploy: Path) -> Iterator[str]:
    """Say what is wrong with the unit and with node.toml."""
    unit = (deploy / "systemd" / "engram-store.service").read_text()
    node = tomllib.loads((deploy / "systemd" / "node.toml").read_text())
    yield from _systemd(unit)
    keys = dict(re.findall(r"^([A-Za-z]+)=(.*)$", unit, re.MULTILINE))
    yield from _wanted(keys)
    yield from _commands(keys)
    yield from _node(node, keys)


def _systemd(unit: str) -> Iterator[str]:
    """Ask systemd, of a copy whose program exists on this machine, too."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "engram-store.service"
        file.write_text(unit.replace(f"={_PROGRAM} ", "=/bin/true "))
        _, said = run("systemd-analyze", "verify", "--recursive-errors=no", "--man=no", file)
        yield from (f"systemd-analyze verify: {line}" for line in said.splitlines() if file.name in line)
        asked = ("security", "--offline=yes", f"--threshold={_MOST_EXPOSURE}", "--no-pager", file)
        yield from (line for line in complaints("systemd-analyze", *asked) if "Overall" in line or "✗" in line)


def _wanted(keys: Mapping[str, str]) -> Iterator[str]:
    for key, pattern in _WANTED.items():
        if not re.fullmatch(pattern, keys.get(key, "")):
            yield f"{key} must be {pattern}, got {keys.get(key)!r}"


def _commands(keys: Mapping[str, str]) -> Iterator[str]:
    for key in ("ExecStart", "ExecStartPre"):
        program, *arguments = shlex.split(keys.get(key, "")) or [""]
        if program != _PROGRAM:
            yield f"{key} must run {_PROGRAM}, got {program!r}"
        yield from (f"{key}: {problem}" for problem in unknown_options(arguments))
        if "/etc/engram-store/node.toml" not in arguments:
            yield f"{key} must read /etc/engram-store/node.toml, got {' '.join(arguments)}"


def _node(node: Mapping[str, object], keys: Mapping[str, str]) -> Iterator[str]:
    arguments = [f"--{key}={value}" for key, value in node.items() if key != "root"]
    yield from (f"node.toml: {problem}" for problem in unknown_options(arguments))
    yield from (f"node.toml: {problem}" for problem in wrong_ports(arguments, PORTS))
    if node.get("supervise") is not True:
        yield "node.toml: supervise must be true: else nobody puts aside a version that ends who reads it"
    folders = {"root": ("/var/lib", "StateDirectory"), "audit-log": ("/var/log", "LogsDirectory")}
    for key, (above, directory) in folders.items():
        if not f"{node.get(key)}/".startswith(f"{above}/{keys.get(directory)}/"):
            yield f"node.toml: {key} is {node.get(key)}, where the unit may write to {directory}={keys.get(directory)}"
    given = [*arguments, *shlex.split(keys.get("ExecStart", ""))]  # the command line goes before the file
    yield from too_short("TimeoutStopSec", float(keys.get("TimeoutStopSec", "0")), given)
