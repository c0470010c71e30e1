"""The chart: linted and rendered by Helm with each file of values, and each manifest held against its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import helm_python
import kubernetes_validate
import yaml

from check.manifests import problems_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WARNING: Final = 2
_VERSIONS: Final = ("1.27.0", "1.37.0")  # the oldest that the chart asks for, and the newest known
_OPERATORS: Final = "monitoring.coreos.com/"  # its kinds are not Kubernetes' own, and have no schema here


def problems(deploy: Path) -> Iterator[str]:
    """Say what is wrong with the chart."""
    for file in sorted((deploy / "check" / "values").glob("*.yaml")):
        values = yaml.safe_load(file.read_text())
        yield from (f"{file.stem}: {problem}" for problem in _with_values(deploy / "chart", values))
    yield from _refusals(deploy / "chart")


def _with_values(chart: Path, values: dict[str, Any]) -> Iterator[str]:
    report = helm_python.lint(chart, values, strict=True)
    yield from report["errors"]
    yield from (f"helm lint: {each['error']}" for each in report["messages"] if each["severity"] >= _WARNING)
    try:
        manifests, all_values = rendered(chart, values)
    except (helm_python.HelmError, yaml.YAMLError) as error:
        yield f"helm: {error}"
        return
    for manifest in manifests:
        yield from _schema(manifest)
    yield from problems_of(manifests, all_values, chart / "files")


def rendered(chart: Path, values: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the manifests of a release named "memory", and the values that counted. Raises HelmError, YAMLError."""
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        files = loaded.render(values=values, name="memory", namespace="engram")
        documents = [document for text in files.values() for document in yaml.safe_load_all(text)]
        return [document for document in documents if document], loaded.merge_values(values)


def _schema(manifest: dict[str, Any]) -> Iterator[str]:
    if manifest["apiVersion"].startswith(_OPERATORS):
        return
    for version in _VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            place = ".".join(str(each) for each in getattr(error, "path", ()))
            yield f"kubernetes {version}: {manifest['kind']} {place}: {getattr(error, 'message', error)}"


def _refusals(chart: Path) -> Iterator[str]:
    """Say which mistakes of an operator the chart would take."""
    mistakes: dict[str, dict[str, Any]] = {
        "neither TLS nor insecure": {},
        "tokens in plain text": {"insecure": True, "tokens": {"secret": "t"}},
        "a token for other nodes where there are none": {"insecure": True, "nodeToken": {"secret": "t"}},
        "fewer nodes than copies": {"insecure": True, "replicas": 1, "cluster": {"url": "etcd://e:2379/c"}},
        "a misspelt value": {"insecure": True, "replica": 3},
        "a port out of range": {"insecure": True, "ports": {"lookups": 70000}},
        "a Prometheus that is kept out": {
            "insecure": True,
            "serviceMonitor": {"enabled": True},
            "networkPolicy": {"enabled": True},
        },
        "cores and sockets": {"insecure": True, "numa": {"nodes": "0", "pinCores": "0-7"}},
        "no workers": {"insecure": True, "workers": 0},
    }
    for name, values in mistakes.items():
        try:
            rendered(chart, values)
        except helm_python.HelmError:
            continue
        yield f"takes {name}: {values}"
