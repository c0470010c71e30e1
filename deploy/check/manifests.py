"""What no schema sees in the manifests of a release: that each fits the others, the node and the files of the chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from check import network, settings
from check.conventions import HEALTH_SERVICES, JOB, USER_ID
from check.options import too_short, unknown_options, value_of, wrong_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest: TypeAlias = dict[str, Any]
_SETTINGS = "/etc/engram-store/"


def problems_of(manifests: list[Manifest], values: Manifest, files: Path) -> Iterator[str]:
    """Say what does not fit."""
    kinds: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        kinds.setdefault(manifest["kind"], []).append(manifest)
    nodes = kinds["StatefulSet"][0]["spec"]
    pod, container = nodes["template"]["spec"], nodes["template"]["spec"]["containers"][0]
    labels = nodes["template"]["metadata"]["labels"]
    yield from _selectors(kinds, nodes, labels)
    yield from _arguments(container, pod, values)
    yield from _probes(container, values["ports"]["health"])
    yield from _files(container, pod)
    yield from _services(kinds, nodes, container, values["ports"]["health"])
    yield from _confinement(pod, container)
    yield from _scraping(kinds, nodes)
    yield from _observing(kinds, files)
    for policy in kinds.get("NetworkPolicy", ()):
        yield from network.problems_of(policy, labels, values)


def _selectors(kinds: dict[str, list[Manifest]], nodes: Manifest, labels: dict[str, str]) -> Iterator[str]:
    found = [("StatefulSet", nodes["selector"]["matchLabels"])]
    found += [(f"Service {each['metadata']['name']}", each["spec"]["selector"]) for each in kinds["Service"]]
    found += [(each["kind"], each["spec"]["selector"]["matchLabels"]) for each in kinds["PodDisruptionBudget"]]
    found += [(each["kind"], each["spec"]["podSelector"]["matchLabels"]) for each in kinds.get("NetworkPolicy", ())]
    spread = nodes["template"]["spec"]["topologySpreadConstraints"]
    found += [(f"spread over {each['topologyKey']}", each["labelSelector"]["matchLabels"]) for each in spread]
    for name, selector in found:
        if len(selector) < 2 or not selector.items() <= labels.items():
            yield f"{name} selects {selector}, which pods of this release, and no others, must have: {labels}"
    if {each["topologyKey"] for each in spread} != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
        yield "pods must be spread over zones and hosts"


def _arguments(container: Manifest, pod: Manifest, values: Manifest) -> Iterator[str]:
    arguments = container["args"]
    yield from unknown_options(arguments)
    yield from settings.problems(arguments)
    yield from wrong_ports(arguments, values["ports"])
    opened = {each["name"]: each["containerPort"] for each in container["ports"]}
    workers = int(value_of(arguments, "--workers"))
    wanted = dict(values["ports"])
    wanted |= {f"lookups-{worker}": wanted["lookups"] + worker for worker in range(1, workers)}
    if opened != wanted:
        yield f"the container has the ports {opened}, where the node listens on {wanted}"
    if len(set(opened.values())) != len(opened):
        yield f"two uses of one port: {opened}"
    if "--supervise" not in arguments:
        yield "--supervise is missing: nobody would replace a worker that dies, or put aside what ended it"
    yield from too_short("terminationGracePeriodSeconds", pod["terminationGracePeriodSeconds"], arguments)


def _probes(container: Manifest, port: int) -> Iterator[str]:
    wanted = {"startupProbe": "startup", "readinessProbe": "", "livenessProbe": "liveness"}
    for name, service in wanted.items():
        asked = container.get(name, {}).get("grpc")
        if asked is None or asked["port"] != port or asked.get("service", "") not in HEALTH_SERVICES:
            yield f"{name} must ask the health port, {port}, for one of {sorted(HEALTH_SERVICES)}, got {asked}"
        elif asked.get("service", "") != service:
            yield f"{name} must ask for {service!r}, got {asked.get('service', '')!r}"


def _files(container: Manifest, pod: Manifest) -> Iterator[str]:
    """Say which files of options no Secret brings."""
    volumes = {each["name"]: each for each in [*pod["volumes"], {"name": "root"}]}
    paths = set()
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"mounts {mount['name']}, which is no volume"
        elif "secret" in volumes[mount["name"]]:
            secret = volumes[mount["name"]]["secret"]
            paths |= {f"{mount['mountPath']}/{item['path']}" for item in secret["items"]}
            yield from (
                f"the key {item['key']} of the Secret {secret['secretName']} becomes {item['path']}"
                for item in secret["items"]
                if item["key"] != item["path"]
            )
            if "subPath" in mount or not mount.get("readOnly"):
                yield f"{mount['name']} must be mounted read-only and whole, or it is not replaced when it changes"
    for argument in container["args"]:
        path = argument.partition("=")[2]
        if path.startswith(_SETTINGS) and path not in paths:
            yield f"{argument}: no Secret that is mounted has this file, only {sorted(paths)}"


def _services(kinds: dict[str, list[Manifest]], nodes: Manifest, container: Manifest, health: int) -> Iterator[str]:
    opened = {each["name"]: each["containerPort"] for each in container["ports"]}
    for service in kinds["Service"]:
        name = service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in opened or opened[port["targetPort"]] != port["port"]:
                yield f"Service {name}: {port['name']} leads {port['port']} to {port['targetPort']}, of {opened}"
            if port["targetPort"] in {"admin", "health"} or port["port"] == health:
                yield f"Service {name}: {port['targetPort']} is not for others"
    headless = {each["metadata"]["name"] for each in kinds["Service"] if each["spec"].get("clusterIP") == "None"}
    if nodes["serviceName"] not in headless:
        yield f"serviceName {nodes['serviceName']} is no headless Service of {sorted(headless)}"
    advertised = value_of(container["args"], "--advertise")
    wanted = f"$(POD_NAME).{nodes['serviceName']}.$(POD_NAMESPACE).svc:{opened['lookups']}"
    if advertised and advertised != wanted:
        yield f"--advertise must be {wanted}, where other nodes find the pod, got {advertised}"


def _confinement(pod: Manifest, container: Manifest) -> Iterator[str]:
    found = {**pod["securityContext"], **container["securityContext"]}
    # Without it the default profile of seccomp refuses set_mempolicy(), and the node does not start.
    chooses_memory = bool(value_of(container["args"], "--numa-nodes"))
    wanted = {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "fsGroup": USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]} | ({"add": ["SYS_NICE"]} if chooses_memory else {}),
    }
    yield from (
        f"{key} must be {value}, got {found.get(key)}" for key, value in wanted.items() if found.get(key) != value
    )
    if pod.get("automountServiceAccountToken") is not False:
        yield "a node asks Kubernetes nothing: automountServiceAccountToken must be false"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks must be false, or variables of Services are taken for settings"


def _scraping(kinds: dict[str, list[Manifest]], nodes: Manifest) -> Iterator[str]:
    for monitor in kinds.get("ServiceMonitor", ()):
        spec = monitor["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        found = [each for each in kinds["Service"] if wanted <= each["metadata"]["labels"].items()]
        if len(found) != 1:
            yield f"ServiceMonitor selects {len(found)} Services, not one: nodes would be scraped as often"
        named = {port["name"] for each in found for port in each["spec"]["ports"]}
        yield from (
            f"ServiceMonitor: no port {each['port']}" for each in spec["endpoints"] if each["port"] not in named
        )
        if any(each["metadata"]["labels"].get(spec["jobLabel"]) != JOB for each in found):
            yield f"ServiceMonitor: the job must be {JOB}, as the alerts ask for it"
        for endpoint in spec["endpoints"]:
            tls = endpoint.get("tlsConfig", {})
            keys = {
                each: tls[each].get("secret", tls[each])["key"] for each in ("ca", "cert", "keySecret") if each in tls
            }
            # *.SERVICE, as certificates of pods have it, covers no SERVICE by itself.
            if tls and f".{nodes['serviceName']}." not in tls.get("serverName", ""):
                yield f"ServiceMonitor: serverName must be that of a pod in {nodes['serviceName']}, got {tls}"
            if keys and keys != {"ca": "ca.crt", "cert": "tls.crt", "keySecret": "tls.key"}:
                yield f"ServiceMonitor: the Secret has no such keys: {keys}"


def _observing(kinds: dict[str, list[Manifest]], files: Path) -> Iterator[str]:
    for rule in kinds.get("PrometheusRule", ()):
        if rule["spec"] != yaml.safe_load((files / "alerts.yaml").read_text()):
            yield "PrometheusRule has other rules than files/alerts.yaml"
    for config in kinds.get("ConfigMap", ()):
        texts = [text.strip() for text in config["data"].values()]
        if texts != [(files / "dashboard.json").read_text().strip()]:
            yield "the ConfigMap has another dashboard than files/dashboard.json"
