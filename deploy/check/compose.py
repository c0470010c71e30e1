"""The compose file: read by docker-compose and a linter, and held against itself and the chart's files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from check import settings
from check.conventions import JOB, PORTS, USER_ID
from check.options import too_short, unknown_options, wrong_ports
from check.programs import complaints, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def problems(deploy: Path) -> Iterator[str]:
    """Say what is wrong with the compose file and with what it mounts."""
    folder = deploy / "compose"
    # What is wrong is told by what it says: the package around the program always ends with exit status 0.
    _, said = run("docker-compose", "--file", folder / "compose.yaml", "config", "--quiet")
    wrong = [f"docker-compose: {line}" for line in said.splitlines()]
    yield from wrong
    if wrong:  # no more can be said of what is no compose file
        return
    linting = ("check", "--config", folder / ".compose-lint.yml", "--fail-on", "medium", folder / "compose.yaml")
    yield from complaints("compose-lint", *linting)
    yield from complaints("promtool", "check", "config", "--syntax-only", folder / "prometheus.yaml")
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    nodes = {name: service for name, service in services.items() if service["image"].startswith("engram-store:")}
    if len(nodes) != 2:
        yield f"there must be two nodes, got {sorted(nodes)}"
    for name, service in nodes.items():
        yield from (f"{name}: {problem}" for problem in _node(name, service))
    script = (folder / "make-secrets.sh").read_text()
    for name, service in services.items():
        yield from (f"{name}: {problem}" for problem in _mounts(folder, service, script))
    yield from _prometheus(yaml.safe_load((folder / "prometheus.yaml").read_text()), services, nodes)


def _node(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    arguments = service["command"]
    yield from unknown_options(arguments)
    yield from settings.problems(arguments, service["environment"])
    yield from wrong_ports(arguments, PORTS)
    if "--supervise" not in arguments:
        yield "--supervise is missing: nobody would replace a worker that dies, or put aside what ended it"
    for variable in service.get("environment", {}):
        yield from unknown_options([f"--{variable.removeprefix('ENGRAM_').lower().replace('_', '-')}"])
    port = service["environment"].get("ENGRAM_LISTEN", "").rpartition(":")[2]
    if service["environment"].get("ENGRAM_ADVERTISE") != f"{name}:{port}":
        yield f"ENGRAM_ADVERTISE must be {name}:{port}, where other nodes reach it"
    for published in service["ports"]:
        if published != f"127.0.0.1:{port}:{port}":
            yield f"publishes {published}, not lookups on loopback, at the port that others are told of: {port}"
    if f'"127.0.0.1:{PORTS["health"]}"' not in " ".join(service["healthcheck"]["test"]):
        yield f"its healthcheck must ask the health port, {PORTS['health']}"
    if service["user"] != f"{USER_ID}:{USER_ID}":
        yield f"must run as {USER_ID}, the user of the image, got {service['user']}"
    yield from too_short("stop_grace_period", float(service["stop_grace_period"].removesuffix("s")), arguments)
    yield from _paths(service)


def _paths(service: Mapping[str, Any]) -> Iterator[str]:
    mounted = [each.split(":")[1] for each in service["volumes"]]
    for option in (each for each in service["command"] if "=/" in each):
        path = option.partition("=")[2]
        if not any(path.startswith(f"{folder}/") for folder in mounted):
            yield f"{option}: nothing is mounted there"


def _mounts(folder: Path, service: Mapping[str, Any], script: str) -> Iterator[str]:
    for source in (each.split(":")[0] for each in service.get("volumes", ()) if each.startswith(".")):
        secret = re.fullmatch(r"\./secrets/([a-z0-9-]+)", source)
        if secret and not re.search(rf"mkdir -p .*secrets/{secret[1]}\b", script):
            yield f"mounts {source}, which make-secrets.sh does not make"
        if not secret and not (folder / source).is_file():
            yield f"mounts {source}, which is no file"
        user = service.get("user", "").partition(":")[0]
        if (
            secret
            and secret[1] != "ca"
            and not re.search(rf"chown -R {user}:{user} [a-z0-9 -]*\b{secret[1]}\b", script)
        ):
            yield f"mounts {source}, which make-secrets.sh does not give to its user, {user}"


def _prometheus(config: Mapping[str, Any], services: Mapping[str, Any], nodes: Mapping[str, Any]) -> Iterator[str]:
    mounted = [each.split(":")[1] for each in services["prometheus"]["volumes"]]
    yield from (f"prometheus.yaml: {each} is not mounted" for each in config["rule_files"] if each not in mounted)
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    if set(jobs) != {JOB}:
        yield f"prometheus.yaml: the job must be {JOB}, got {sorted(jobs)}"
        return
    targets = {target for each in jobs[JOB]["static_configs"] for target in each["targets"]}
    if targets != (wanted := {f"{name}:{PORTS['metrics']}" for name in nodes}):
        yield f"prometheus.yaml: targets must be {sorted(wanted)}, got {sorted(targets)}"
