"""A real etcd, of one member, on free ports of this host."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from aetcd import rpc
from support.network import free_ports

START_SECONDS = 60
PROGRAM = shutil.which("etcd")
needs_etcd = pytest.mark.skipif(PROGRAM is None, reason="needs etcd (Debian: apt-get install etcd-server)")


class Etcd:
    """Started, and answering. It may be killed and started again, with its data or without."""

    def __init__(self, data: Path, *options: str, scheme: str = "http") -> None:
        self._data = data
        self._scheme = scheme
        self._options = options
        self._client_port, self._peer_port = free_ports(2)
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._client_port}"

    def start(self) -> None:
        """Start it, after `kill` with its data and on its ports."""
        client, peer = f"{self._scheme}://{self.endpoint}", f"http://127.0.0.1:{self._peer_port}"
        # Quick to elect itself: the shortest lease that it grants depends on that.
        options = {
            "name": "one",
            "data-dir": str(self._data),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"one={peer}",
            "heartbeat-interval": "10",
            "election-timeout": "100",
            "logger": "zap",
            "log-outputs": "stderr",
        }
        arguments = [PROGRAM, *(f"--{name}={value}" for name, value in options.items()), *self._options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)
        answers = threading.Event()
        self._reader = threading.Thread(target=self._read_log, args=(self.process, answers))
        self._reader.start()
        if not answers.wait(START_SECONDS) or self.process.poll() is not None:
            self.kill()
            raise AssertionError("etcd did not start")

    def ask(self, service: str, method: str, request: object) -> object:
        """Call etcd past our own code: `service` is KV, Auth or Lease."""
        with grpc.insecure_channel(self.endpoint) as channel:
            return getattr(getattr(rpc, f"{service}Stub")(channel), method)(request, timeout=START_SECONDS)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def make_user(self, name: str, password: str) -> None:
        """Let it answer only those whom it knows, `name` being one."""
        for method, request in (
            ("UserAdd", rpc.AuthUserAddRequest(name=name, password=password)),
            ("UserGrantRole", rpc.AuthUserGrantRoleRequest(user=name, role="root")),
            ("AuthEnable", rpc.AuthEnableRequest()),
        ):
            self.ask("Auth", method, request)

    def lose_data(self) -> None:
        """Remove what a killed etcd knew."""
        shutil.rmtree(self._data)

    def take_data_of(self, other: "Etcd") -> None:
        """Know what another one knew, once both were killed and this one's data are lost."""
        shutil.copytree(other._data, self._data)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it neither answer nor end, as long as the block lasts."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # on a busy host threads go on for a while
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _read_log(self, process: subprocess.Popen, answers: threading.Event) -> None:
        for line in process.stderr:
            with contextlib.suppress(ValueError):
                if "serving" in json.loads(line).get("msg", "") and "client" in line:
                    answers.set()
        process.stderr.close()
        answers.set()


@contextlib.contextmanager
def running_etcd(data: Path, *options: str, scheme: str = "http") -> Iterator[Etcd]:
    """Run etcd as long as the block lasts; it may have been killed before."""
    etcd = Etcd(data, *options, scheme=scheme)
    try:
        yield etcd
    finally:
        etcd.process.send_signal(signal.SIGCONT)
        etcd.kill()
