"""A node with the very settings of chart and unit starts, and answers the probes as kubelet asks them."""

import re
import tomllib

import grpc
import pytest
import yaml
from check.chart import rendered
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.etcd import needs_etcd, running_etcd
from support.network import free_ports
from support.processes import node_process
from support.rows import random_rows
from support.tables import write_table

from store_server.access.token import Token

PATIENCE_SECONDS = 60
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a node finds below /: its root, and what Secrets or an operator bring."""
    folder = tmp_path_factory.mktemp("deployed")
    root, settings = folder / "var/lib/engram-store", folder / "etc/engram-store"
    for name in (settings / "tls", settings / "tokens", settings / "node-token", folder / "var/log/engram-store"):
        name.mkdir(parents=True)
    write_table(root, "layer-1", random_rows(100, 16))
    authority = make_authority(folder, "authority")
    own = make_certificate(folder, "node", authority)
    for name, file in {"tls.crt": own.cert, "tls.key": own.key, "ca.crt": authority.cert}.items():
        (settings / "tls" / name).write_bytes(file.read_bytes())
    CredentialsOnDisk(settings / "tokens" / "tokens.toml").add("somebody")
    (settings / "node-token" / "token").write_text(Token.new().text())
    return folder


def started(files, arguments):
    """Start `serve` with the options of a deployment, on loopback and below `files`."""
    below = [each.replace("=/", f"={files}/").replace("=0.0.0.0:", "=127.0.0.1:") for each in arguments]
    (listen,) = (each.partition("=")[2] for each in below if each.startswith("--listen="))
    options = [each for each in below if each.startswith("--") and not each.startswith("--listen=")]
    return node_process(files / "var/lib/engram-store", *options, listen=listen)


def told(address, service):
    """What the health port says of a service, when it has become that it serves."""
    with grpc.insecure_channel(address) as channel:
        for answer in HealthStub(channel).Watch(HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS):
            if answer.status == HealthCheckResponse.SERVING:
                break
        return HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS).status


@pytest.fixture
def container_of(deploy):
    """The container of a node alone on free ports, with a file of values and what else is set."""

    def container_of(values, **more):
        settings = yaml.safe_load((deploy / "check" / "values" / f"{values}.yaml").read_text())
        names = ("lookups", "admin", "metrics", "health")
        ports = dict(zip(names, free_ports(4), strict=True))
        settings |= {"cluster": {}, "replicas": 1, "workers": 1, "ports": ports, **more}
        manifests, _ = rendered(deploy / "chart", settings)
        (pods,) = (each for each in manifests if each["kind"] == "StatefulSet")
        return pods["spec"]["template"]["spec"]["containers"][0]

    return container_of


def probed(container):
    """What kubelet is told, by each probe."""
    asked = [container[probe]["grpc"] for probe in PROBES]
    return [told(f"127.0.0.1:{each['port']}", each.get("service", "")) for each in asked]


@pytest.mark.parametrize("values", ["plain", "secured"])
def test_a_node_with_the_arguments_of_the_chart_is_found_well_by_its_probes(container_of, files, values):
    container = container_of(values, nodeToken={})

    with started(files, container["args"]) as node:
        assert probed(container) == [HealthCheckResponse.SERVING] * 3
        assert node.stop() == 0


@needs_etcd
def test_one_of_a_cluster_is_found_well_too(container_of, files, tmp_path):
    with running_etcd(tmp_path / "etcd") as etcd:
        cluster = {"url": f"etcd://{etcd.endpoint}/prod", "copies": 1, "etcdSecret": ""}
        container = container_of("secured", cluster=cluster)
        pod = {"$(POD_NAME)": "memory-0", "$(POD_NAMESPACE)": "engram"}
        arguments = [re.sub(r"\$\(\w+\)", lambda found: pod[found[0]], each) for each in container["args"]]

        with started(files, arguments) as node:
            assert probed(container) == [HealthCheckResponse.SERVING] * 3
            assert node.stop() == 0


def test_a_node_with_the_settings_of_the_unit_starts_and_ends(deploy, files):
    settings = tomllib.loads((deploy / "systemd" / "node.toml").read_text())
    settings.pop("root")
    for key, port in zip((key for key in settings if key.endswith("listen")), free_ports(4), strict=False):
        settings[key] = f"127.0.0.1:{port}"
    options = [f"--{key}" if value is True else f"--{key}={value}" for key, value in settings.items()]

    with started(files, options) as node:
        assert told(settings["health-listen"], "") == HealthCheckResponse.SERVING
        assert node.stop() == 0
