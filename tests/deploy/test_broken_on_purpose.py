"""One thing of deploy/ is broken at a time, and the check concerned names it."""

import re
import shutil
from pathlib import Path

import pytest
from check import CHECKS

DEPLOY = Path(__file__).parents[2] / "deploy"
IMAGE, IGNORED = "Dockerfile", "Dockerfile.dockerignore"
COMPOSE, SCRAPED, SECRETS = "compose/compose.yaml", "compose/prometheus.yaml", "compose/make-secrets.sh"
UNIT, NODE = "systemd/engram-store.service", "systemd/node.toml"
PODS, SERVICES = "chart/templates/statefulset.yaml", "chart/templates/services.yaml"
NETWORK = "chart/templates/network.yaml"
SELECTED = 'matchLabels: {{- include "engram-store.selector" . | nindent '
DISRUPTION, OBSERVING = "chart/templates/disruption.yaml", "chart/templates/observing.yaml"
CHART = "chart/Chart.yaml"
VALUES, SCHEMA = "chart/values.yaml", "chart/values.schema.json"
ALERTS, BOARD, SERIES = "chart/files/alerts.yaml", "chart/files/dashboard.json", "alert_tests/load.yaml"

# What is broken: the check that sees it, the file, what is there, what comes in its place, what the check must say.
# These are tried by `make deploy-check`, those in MORE by `make deploy-check-broken`.
SOME = [
    ("yaml", VALUES, "workers: 1\n", "workers: 1\nworkers: 2\n", "duplicat"),
    ("image", IMAGE, "EXPOSE 50051 50050 9464 50049", "EXPOSE 50051 50050 9465 50049", "9465"),
    ("compose", COMPOSE, "--cluster=etcd", "--clusters=etcd", "no option --clusters"),
    ("unit", UNIT, "LimitNOFILE=1048576", "LimitNOFILES=1048576", "LimitNOFILE"),
    ("unit", UNIT, "CapabilityBoundingSet=\n", "", "Overall exposure"),
    (
        "chart",
        PODS,
        "readinessProbe:\n            grpc: {port: {{ .Values.ports.health }}}",
        "readinessProbe:\n            grpc: {port: 50051}",
        "readinessProbe must ask the health port",
    ),
    ("chart", PODS, "service: startup}", "service: started}", "startupProbe must ask"),
    ("chart", PODS, "--drain-seconds=", "--drain-second=", "no option --drain-second"),
    (
        "alerts",
        ALERTS,
        "engram_worker_up == 0",
        "engram_worker_alive == 0",
        "no node shows a metric engram_worker_alive",
    ),
    ("alerts", ALERTS, "unless on (instance) engram_draining == 1", "", "promtool"),
    ("dashboard", BOARD, "engram_rows_total{", "engram_row_total{", "no node shows a metric engram_row_total"),
]
MORE = [
    ("yaml", ALERTS, "groups:", "groups:  \n", "trailing"),
    ("image", IMAGE, "FROM python:3.11-slim-bookworm AS wheels", "FROM python AS wheels", "DL3006"),
    ("image", IMAGE, "WORKDIR /source", "WORKDIR source", "DL3000"),
    ("image", IMAGE, "USER 10001:10001", "USER root", "USER and UID must be 10001"),
    ("image", IMAGE, "ARG UID=10001", "ARG UID=1000", "USER and UID must be 10001"),
    ("image", IMAGE, "COPY proto proto", "COPY protos protos", "COPY protos"),
    ("image", IGNORED, "!store_server\n", "", "COPY store_server: Dockerfile.dockerignore"),
    ("image", IMAGE, ".[server,etcd]", ".[server,model]", "would bring torch"),
    ("image", IMAGE, "engram-store[server,etcd]", "engram-store[servers,etcd]", "no extra servers"),
    ("image", IMAGE, '"--listen", "127.0.0.1:50051"', '"--listens", "127.0.0.1:50051"', "no option --listens"),
    ("image", IMAGE, "127.0.0.1:50049", "127.0.0.1:50048", "50048"),
    ("compose", COMPOSE, "services:\n", "service:\n", "docker-compose"),
    ("compose", COMPOSE, "stop_grace_period: 55s", "stop_grace_period: 45s", "stop_grace_period"),
    ("compose", COMPOSE, "    depends_on: [prometheus]", "    depends_on: [prometeus]", "prometeus"),
    ("compose", COMPOSE, 'ports: ["127.0.0.1:50051:50051"]', 'ports: ["127.0.0.1:50051:50052"]', "50052"),
    (
        "compose",
        COMPOSE,
        'ports: ["127.0.0.1:50061:50061"]',
        'ports: ["127.0.0.1:50062:50061"]',
        "that others are told",
    ),
    ("compose", COMPOSE, 'ENGRAM_LISTEN: "0.0.0.0:50061"', 'ENGRAM_LISTEN: "0.0.0.0:50051"', "node-2: ENGRAM_ADV"),
    ("compose", COMPOSE, "--drain-seconds=30", "--drain-seconds=0", "config check"),
    ("chart", PODS, "--pin-cores={{ . }}", "--pin-core={{ . }}", "no option --pin-core"),
    ("chart", PODS, ", add: [SYS_NICE]", "", "capabilities must be"),
    ("chart", PODS, "--node-id=$(POD_NAME)", "--node-id=$(POD_NAMES)", "config check"),
    ("chart", "chart/templates/_names.tpl", "and .Values.numa.nodes .Values", "and false .Values", "cores and sockets"),
    ("compose", COMPOSE, 'ports: ["127.0.0.1:50051:50051"]', 'ports: ["50051:50051"]', "on loopback"),
    ("compose", COMPOSE, "--metrics-listen=0.0.0.0:9464", "--metrics-listen=0.0.0.0:9465", "--metrics-listen is at"),
    ("compose", COMPOSE, "ENGRAM_NODE_ID: node-1", "ENGRAM_NODE_NAME: node-1", "no option --node-name"),
    ("compose", COMPOSE, 'ENGRAM_ADVERTISE: "node-2:50061"', 'ENGRAM_ADVERTISE: "node-1:50061"', "node-2: ENGRAM_ADV"),
    ("compose", COMPOSE, 'insecure_channel("127.0.0.1:50049")', 'insecure_channel("127.0.0.1:50051")', "healthcheck"),
    ("compose", COMPOSE, 'user: "10001:10001"', 'user: "0:0"', "must run as 10001"),
    ("compose", COMPOSE, "./secrets/node-2:", "./secrets/node-3:", "node-3"),
    ("compose", COMPOSE, "--tokens=/run/secrets/tokens/", "--tokens=/run/secret/tokens/", "nothing is mounted there"),
    ("compose", COMPOSE, "../chart/files/alerts.yaml:", "../chart/files/alert.yaml:", "alert.yaml"),
    ("version", COMPOSE, "image: engram-store:", "image: engram-store:0.", "compose.yaml: the package's version is"),
    ("version", SECRETS, "the image engram-store:", "the image engram-store:0.", "make-secrets.sh: the package's"),
    ("version", CHART, 'appVersion: "', 'appVersion: "0.', "Chart.yaml: the package's"),
    (
        "chart",
        NETWORK,
        "(sub (add .Values.ports.lookups .Values.workers) 1)",
        "(add .Values.ports.lookups 1)",
        "opens ports 50051 to 50052",
    ),
    ("chart", NETWORK, "      from: {{- toYaml . | nindent 8 }}\n", "", "lets everybody reach metrics"),
    ("chart", NETWORK, "port: {{ $.Values.ports.metrics }}", "port: {{ $.Values.ports.health }}", "opens health"),
    ("chart", NETWORK, "port: {{ $.Values.ports.admin }}", "port: {{ $.Values.ports.metrics }}", "from admin"),
    ("chart", NETWORK, "policyTypes: [Ingress]", "policyTypes: [Egress]", "must be for what comes in"),
    ("chart", NETWORK, "networkPolicy.clients }}", "networkPolicy.metrics }}", "from lookups"),
    ("chart", NETWORK, f"{SELECTED}14 }}}}", "matchLabels: {app: other}", "must let nodes reach each other's lookups"),
    ("chart", NETWORK, f"{SELECTED}6 }}}}", "matchLabels: {app: other}", "NetworkPolicy selects"),
    ("version", CHART, "\nversion: ", "\nversion: 0.", "Chart.yaml: the package's"),
    ("compose", COMPOSE, "networks: [store, agreement]\n  depends_on:", "networks: [shop]\n  depends_on:", "shop"),
    (
        "compose",
        COMPOSE,
        "mem_limit: 512m\n    cpus: 1.0\n    pids_limit: 512\n    networks: [agreement]",
        "mem: 512m\n    networks: [agreement]",
        "mem",
    ),
    ("compose", SCRAPED, "node-2:9464", "node-2:9465", "targets must be"),
    ("compose", SCRAPED, "job_name: engram-store", "job_name: engram", "the job must be engram-store"),
    ("compose", SCRAPED, "scrape_interval: 15s", "scrape_intervall: 15s", "scrape_intervall"),
    ("compose", SECRETS, "chown -R 472:472 grafana", "chown -R 0:0 grafana", "does not give to its user, 472"),
    ("unit", UNIT, "Type=notify", "Type=simple", "Type must be notify"),
    ("unit", UNIT, "MemoryMax=95%", "MemoryMax=95 percent", "MemoryMax"),
    ("unit", UNIT, "NoNewPrivileges=yes", "NoNewPrivilege=yes", "NoNewPrivilege"),
    ("unit", UNIT, "SystemCallFilter=@system-service", "SystemCallFilter=@system-services", "system-services"),
    ("unit", UNIT, "WatchdogSec=30\n", "", "WatchdogSec"),
    ("unit", UNIT, "TimeoutStopSec=55", "TimeoutStopSec=45", "TimeoutStopSec, 45, must be"),
    ("unit", UNIT, "serve --config", "serve --configuration", "no option --configuration"),
    ("unit", NODE, 'health-listen = "127.0.0.1:50049"', 'health-listen = "127.0.0.1:50051"', "--health-listen is at"),
    ("unit", NODE, "drain-seconds = 30.0", "drain-second = 30.0", "no option --drain-second"),
    ("unit", NODE, "/var/log/engram-store/audit.jsonl", "/var/lib/audit.jsonl", "audit-log"),
    ("chart", PODS, ", service: liveness}", "}", "livenessProbe must ask for 'liveness'"),
    ("chart", PODS, "livenessProbe:\n            grpc:", "livenessProbe:\n            grcp:", "grcp"),
    (
        "chart",
        PODS,
        "--health-listen=0.0.0.0:{{ .Values.ports.health }}",
        "--health-listen=0.0.0.0:{{ .Values.ports.admin }}",
        "--health-listen is at",
    ),
    ("chart", PODS, "containerPort: {{ .Values.ports.metrics }}", "containerPort: 9090", "the container has the ports"),
    ("chart", PODS, "add .Values.drainSeconds 30", "add .Values.drainSeconds 15", "terminationGracePeriodSeconds"),
    (
        "chart",
        PODS,
        "items: [{key: tokens.toml, path: tokens.toml}]",
        "items: [{key: tokens, path: tokens.toml}]",
        "the key tokens of",
    ),
    (
        "chart",
        PODS,
        "--tokens=/etc/engram-store/tokens/tokens.toml",
        "--tokens=/etc/engram-store/token/tokens.toml",
        "no Secret",
    ),
    (
        "chart",
        PODS,
        "{name: tls, mountPath: /etc/engram-store/tls, readOnly: true}",
        "{name: tsl, mountPath: /etc/engram-store/tls, readOnly: true}",
        "mounts tsl",
    ),
    ("chart", PODS, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem must be"),
    ("chart", PODS, "runAsUser: 10001", "runAsUser: 0", "runAsUser must be"),
    ("chart", PODS, "capabilities: {drop: [ALL]", "capabilities: {dropp: [ALL]", "dropp"),
    ("chart", PODS, "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks"),
    ("chart", PODS, "topologyKey: kubernetes.io/hostname", "topologyKey: kubernetes.io/host", "zones and hosts"),
    ("chart", PODS, "serviceName: {{ $name }}-nodes", "serviceName: {{ $name }}", "no headless Service"),
    ("chart", PODS, "$(POD_NAME).{{ $name }}-nodes.$(POD", "$(POD_NAME).{{ $name }}.$(POD", "--advertise must be"),
    ("chart", PODS, "minReadySeconds: 30", 'minReadySeconds: "30"', "minReadySeconds"),
    ("chart", SERVICES, "targetPort: metrics}", "targetPort: metric}", "leads 9464 to metric"),
    (
        "chart",
        SERVICES,
        "{name: metrics, port: {{ .Values.ports.metrics }}, targetPort: metrics}",
        "{name: health, port: {{ .Values.ports.health }}, targetPort: health}",
        "is not for others",
    ),
    ("chart", SERVICES, "clusterIP: None", "clusterIP: Nonne", "headless"),
    (
        "chart",
        DISRUPTION,
        'include "engram-store.selector" . | nindent 6',
        'dict "app" "engram" | toYaml | nindent 6',
        "PodDisruptionBudget selects",
    ),
    ("chart", DISRUPTION, "policy/v1", "policy/v1beta1", "kubernetes"),
    ("chart", OBSERVING, "- port: metrics", "- port: metric", "ServiceMonitor: no port metric"),
    ("chart", OBSERVING, "key: tls.key}", "key: key}", "the Secret has no such keys"),
    (
        "chart",
        OBSERVING,
        "app.kubernetes.io/component: nodes",
        "app.kubernetes.io/component: node",
        "selects 0 Services",
    ),
    ("chart", OBSERVING, "jobLabel: app.kubernetes.io/name", "jobLabel: app.kubernetes.io/instance", "the job must be"),
    ("chart", OBSERVING, 'Files.Get "files/dashboard.json"', 'Files.Get "files/alerts.yaml"', "dashboard"),
    ("chart", SCHEMA, '"maximum": 65535', '"maximum": 99999', "takes a port out of range"),
    ("chart", VALUES, "drainSeconds: 30", "drainSecond: 30", "drainSecond"),
    (
        "chart",
        "chart/templates/_names.tpl",
        "if and .Values.tokens.secret (not",
        "if and false (not",
        "takes tokens in plain text",
    ),
    (
        "alerts",
        ALERTS,
        "min by (instance) (engram_root_writable) == 0",
        "min by (instance) (engram_root_writable) == 1",
        "promtool",
    ),
    (
        "alerts",
        ALERTS,
        "engram_queued_fullness_ratio > 0.8",
        "engram_queued_fullness_ratio > 0.95",
        "promtool",
    ),
    (
        "alerts",
        ALERTS,
        "engram_queued_fullness_ratio > 0.8",
        "engram_queued_fullness_ratio > 0.5",
        "promtool",
    ),
    ("alerts", ALERTS, "[15m]) > 1.5", "[15m]) > 1.0", "promtool"),
    ("alerts", ALERTS, "|GIVEN_UP|", "|GIVENUP|", "no node gives engram_lookup_failures_total the reason 'GIVENUP'"),
    ("alerts", ALERTS, '{reason!~"', '{reason!="GIVENUP",reason!~"', "the reason 'GIVENUP'"),
    ("unit", UNIT, "serve --config", "serve --drain-seconds=300 --config", "must be 320 or more"),
    ("alerts", ALERTS, "OVERLOADED|READS_NOTHING|", "OVERLOADED|", "promtool"),
    ("alerts", "alert_tests/load.yaml", 'reason="max-queued"', 'reason="queue"', "no node has"),
    ("alerts", ALERTS, "- time() < 14 * 86400", "- time() < 14 * 3600", "promtool"),
    ("alerts", ALERTS, "expr: engram_worker_up == 0", "expr: engram_worker_up = 0", "promtool"),
    ("alerts", ALERTS, 'up{job="engram-store"} == 0', 'up{job="engram"} == 0', "promtool"),
    ("alerts", ALERTS, "docs/operate.md#engramnodedown", "docs/operate.md#nodedown", "its runbook must be"),
    ("alerts", ALERTS, "labels: {severity: critical}", "labels: {severity: page}", "severity must be"),
    ("alerts", ALERTS, "{{ $labels.instance }} does not", "{{ $label.instance }} does not", "promtool"),
    ("alerts", ALERTS, "- alert: EngramNodeDown", "- alert: EngramNodeGone", "EngramNodeGone"),
    ("alerts", SERIES, "0.9x20", "0.7x20", "promtool"),
    ("dashboard", BOARD, "sum by (table) (rate(engram_rows_total", "sum by (table (rate(engram_rows_total", "promtool"),
    ("dashboard", BOARD, "$node", "$nodes_", "there is no variable $nodes_"),
    ("dashboard", BOARD, 'job=\\"engram-store\\", instance', 'job=\\"engram\\", instance', 'asks for job="engram"'),
    ("dashboard", BOARD, '"uid": "${source}"', '"uid": "P1"', "must ask the data source"),
    ("compose", COMPOSE, "      - --supervise", "      - --channelz", "--supervise is missing"),
    ("unit", NODE, "supervise = true", "supervise = false", "supervise must be true"),
    ("unit", UNIT, "OOMPolicy=continue", "OOMPolicy=stop", "OOMPolicy must be"),
    ("chart", PODS, "            - --supervise ", "            # ", "--supervise is missing"),
    (
        "chart",
        OBSERVING,
        "serverName: {{ $name }}-0.{{ $name }}-nodes",
        "serverName: {{ $name }}-nodes",
        "that of a pod",
    ),
    (
        "chart",
        "chart/templates/_names.tpl",
        "if and .Values.nodeToken.secret (not",
        "if and false (not",
        "takes a token",
    ),
    (
        "alerts",
        ALERTS,
        "engram_root_free_bytes / engram_root_bytes) < 0.05",
        "engram_root_free_bytes / engram_root_bytes) < 0.1",
        "promtool",
    ),
    ("alerts", ALERTS, "max(increase(engram_cluster_lost_nodes_total[1h])) > 0", "vector(1)", "promtool"),
    ("alerts", ALERTS, "unless on () engram_cluster_nodes", "unless on () engram_map_epoch", "promtool"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A copy of deploy/, in which one file at a time is broken and mended."""
    copy = tmp_path_factory.mktemp("broken") / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("secrets", "__pycache__"))
    return copy


def test_nothing_is_wrong_with_deploy():
    assert [f"{name}: {problem}" for name, check in CHECKS.items() for problem in check(DEPLOY)] == []


@pytest.mark.parametrize(
    ("check", "file", "there", "instead", "said"),
    [*SOME, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE)],
)
def test_what_is_broken_is_named(whole, check, file, there, instead, said):
    sound = (whole / file).read_text()
    assert there in sound
    (whole / file).write_text(sound.replace(there, instead, 1 if check != "dashboard" else -1))

    try:
        found = list(CHECKS[check](whole))
    finally:
        (whole / file).write_text(sound)

    assert re.search(re.escape(said), "\n".join(found)), found


def test_each_alert_fails_its_series_without_its_expression(whole):
    """A rule that never fires is seen, whichever it is."""
    sound = (whole / ALERTS).read_text()
    names = re.findall(r"- alert: (\w+)", sound)
    never = re.sub(r"(?ms)^        expr: .*?(?=^        (?:for|labels):)", "        expr: vector(1) == 2\n", sound)
    (whole / ALERTS).write_text(never)

    try:
        said = "\n".join(CHECKS["alerts"](whole))
    finally:
        (whole / ALERTS).write_text(sound)

    assert len(names) == 22
    assert [name for name in names if name not in said] == []
