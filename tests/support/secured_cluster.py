"""A cluster as it runs in production: real nodes and a real etcd, with TLS everywhere and a token for each caller."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.certificates import make_authority, make_certificate
from support.credentials import CredentialsOnDisk
from support.etcd import running_etcd
from support.network import free_ports
from support.processes import NodeProcess

import engram_client

_PUBLISH_SECONDS = 120.0


class SecuredCluster:
    """Nodes n0, n1, ..., each at an address that it keeps. `options` are those of every node."""

    def __init__(self, folder: Path, num_nodes: int, options: Sequence[str]) -> None:
        self.nodes: dict[int, NodeProcess] = {}
        self._folder = folder
        self._options = options
        self._addresses = [f"127.0.0.1:{port}" for port in free_ports(num_nodes)]
        self.authority = make_authority(folder, "authority")
        self._own = make_certificate(folder, "node", self.authority)
        self._credentials = CredentialsOnDisk(folder / "credentials.toml")
        self._token_files = {name: self._token_file(name, scopes) for name, scopes in _SCOPES.items()}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run etcd and all nodes as long as the block lasts."""
        tls = (
            f"--cert-file={self._own.cert}",
            f"--key-file={self._own.key}",
            f"--trusted-ca-file={self.authority.cert}",
        )
        with running_etcd(self._folder / "etcd", *tls, "--client-cert-auth", scheme="https") as etcd:
            self._agreed_in = f"etcds://{etcd.endpoint}/prod"
            try:
                with ThreadPoolExecutor() as threads:
                    list(threads.map(self.start, range(len(self._addresses))))
                yield
            finally:
                for node in self.nodes.values():
                    node.process.kill()
                    node.wait()

    def start(self, number: int) -> None:
        """Start a node, on the data root that it had, and wait until it listens."""
        shown = ("--tls-cert", self._own.cert, "--tls-key", self._own.key, "--tokens", self._credentials.path)
        to_nodes = ("--node-ca", self.authority.cert, "--node-token-file", self._token_files["node"])
        agreed = (*self._to_etcd(), "--node-id", f"n{number}", "--allow-source", "file:///")
        options = (*shown, *to_nodes, *agreed, *self._options)
        root = self._folder / f"n{number}"
        self.nodes[number] = NodeProcess(root, *map(str, options), listen=self._addresses[number])

    def publish(self, root: Path, table: str) -> None:
        """Give a table of a data root to the nodes, which read it where it lies."""
        shown = ("--ca-file", self.authority.cert, "--token-file", self._token_files["node"])
        arguments = ("publish", root, table, *self._to_etcd(), *shown, "--set", "model", "--source", f"file://{root}")
        command = [sys.executable, "-m", "store_server", *map(str, arguments)]
        subprocess.run(command, check=True, timeout=_PUBLISH_SECONDS, stdout=subprocess.DEVNULL)

    def connect(self, timeout: float) -> engram_client.Store:
        """Return what a client does that knows the authority and has a token."""
        url = f"grpcs://{','.join(self._addresses)}"
        token_file = self._token_files["client"]
        return engram_client.connect(url, timeout=timeout, ca_file=self.authority.cert, token_file=token_file)

    def _to_etcd(self) -> tuple[object, ...]:
        shown = ("--etcd-ca", self.authority.cert, "--etcd-cert", self._own.cert, "--etcd-key", self._own.key)
        return ("--cluster", self._agreed_in, *shown)

    def _token_file(self, name: str, scopes: str) -> Path:
        file = self._folder / f"{name}.token"
        file.touch(0o600)
        file.write_text(self._credentials.add(name, scopes).text())
        return file


_SCOPES = {"client": "read", "node": "read replicate"}


@contextlib.contextmanager
def secured_cluster(folder: Path, num_nodes: int, *options: str) -> Iterator[SecuredCluster]:
    """Run one as long as the block lasts."""
    cluster = SecuredCluster(folder, num_nodes, options)
    with cluster.running():
        yield cluster
