"""The image: what hadolint says of its file, and whether that fits the repository and the rest of deploy/."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from check.conventions import PORTS, USER_ID
from check.options import unknown_options, wrong_ports
from check.programs import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPOSITORY = Path(__file__).parents[2]


def problems(deploy: Path) -> Iterator[str]:
    """Say what is wrong with the image."""
    text = (deploy / "Dockerfile").read_text()
    yield from complaints("hadolint", "--failure-threshold", "info", deploy / "Dockerfile")
    yield from _sources(text, (deploy / "Dockerfile.dockerignore").read_text())
    yield from _extras(text)
    yield from _last_stage(text.rpartition("\nFROM ")[2])


def _sources(text: str, ignored: str) -> Iterator[str]:
    let_in = [line.removeprefix("!") for line in ignored.splitlines() if line.startswith("!")]
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in names.split():
            if not (_REPOSITORY / name).exists():
                yield f"COPY {name}: the repository has no such file"
            if not any(fnmatch(name, pattern) for pattern in let_in):
                yield f"COPY {name}: Dockerfile.dockerignore keeps it out"


def _extras(text: str) -> Iterator[str]:
    known = tomllib.loads((_REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extras in re.findall(r"'(?:engram-store|\.)\[([a-z,]+)\]'", text):
        for extra in extras.split(","):
            if extra not in known:
                yield f"pip: engram-store has no extra {extra}"
            if extra in {"model", "demo", "dev", "bench"}:
                yield f"pip: the extra {extra} would bring torch"


def _last_stage(text: str) -> Iterator[str]:
    exposed = {int(port) for ports in re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE) for port in ports.split()}
    if exposed != set(PORTS.values()):
        yield f"EXPOSE {sorted(exposed)}, where a node has the ports {sorted(PORTS.values())}"
    users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    if users[-1:] != [f"{USER_ID}:{USER_ID}"] or f"ARG UID={USER_ID}\n" not in text:
        yield f"USER and UID must be {USER_ID}, as compose and chart have it, got {users}"
    command = re.search(r"^CMD (\[.+\])$", text, re.MULTILINE)
    arguments = json.loads(command[1]) if command else []
    if arguments[:1] != ["serve"]:
        yield f"CMD must serve, got {arguments}"
    yield from unknown_options(arguments)
    yield from wrong_ports(arguments, PORTS)
