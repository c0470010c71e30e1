"""Each node in a network namespace of its own, with a link of its own to the clients, who have one too."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence

from support.lossy_wire import LossyWire

_COMMAND_SECONDS = 20.0
_PORT = 50051
_IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
_LINK = "to-clients"  # what a node calls its only one
_numbers = itertools.count()


class Namespaces:
    """The links of nodes that are `wired` pass a LossyWire; only those can be impaired."""

    def __init__(self, num_nodes: int, wired: Collection[int] = ()) -> None:
        self._name = f"engram-{os.getpid()}-{next(_numbers)}"
        self._namespaces: list[str] = []
        self._wires: dict[int, LossyWire] = {}
        try:
            self._clients = self._add("clients")
            for number in range(num_nodes):
                self._add_node(number, is_wired=number in wired)
        except BaseException:
            self.close()
            raise
        self.client_prefix = _inside(self._clients)

    def listen(self, number: int) -> str:
        return f"{_node_address(number)}:{_PORT}"

    def address(self, number: int) -> str:
        return self.listen(number)

    def prefix(self, number: int) -> Sequence[str]:
        return _inside(self._node(number))

    def cut(self, number: int) -> None:
        _ip("-n", self._node(number), "link", "set", _LINK, "down")

    def mend(self, number: int) -> None:
        _ip("-n", self._node(number), "link", "set", _LINK, "up")

    def impair(self, number: int, *, round_trip_seconds: float = 0.0, loss: float = 0.0) -> None:
        self.wire(number).become(loss=loss, one_way_seconds=round_trip_seconds / 2)

    def wire(self, number: int) -> LossyWire:
        return self._wires[number]

    def close(self) -> None:
        """Remove all of them; what still runs there keeps its own alive, without links."""
        for wire in self._wires.values():
            wire.stop()
        for namespace in self._namespaces:
            _ip("netns", "delete", namespace)

    def _add(self, name: str) -> str:
        namespace = f"{self._name}-{name}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        return namespace

    def _node(self, number: int) -> str:
        return f"{self._name}-{number}"

    def _add_node(self, number: int, *, is_wired: bool) -> None:
        node, link_of_client = self._add(str(number)), f"node{number}"
        if is_wired:
            self._wires[number] = self._add_wire(number, self._clients, link_of_client, node)
        else:
            _add_pair((self._clients, link_of_client), (node, _LINK))
        _set_up(self._clients, link_of_client, _client_address(number))
        _set_up(node, _LINK, _node_address(number))

    def _add_wire(self, number: int, clients: str, link_of_client: str, node: str) -> LossyWire:
        """Its two ends stay in a namespace between, and their peers leave it once their offloads are off."""
        between = self._add(f"wire{number}")
        _add_pair((between, "near"), (between, link_of_client))
        _add_pair((between, "far"), (between, _LINK))
        for end in ("near", "far"):
            _ip("-n", between, "link", "set", end, "up")
        wire = LossyWire("near", "far", (link_of_client, _LINK), _inside(between))
        _ip("-n", between, "link", "set", link_of_client, "netns", clients)
        _ip("-n", between, "link", "set", _LINK, "netns", node)
        return wire


@contextlib.contextmanager
def namespaces(num_nodes: int, wired: Collection[int] = ()) -> Iterator[Namespaces]:
    network = Namespaces(num_nodes, wired)
    try:
        yield network
    finally:
        network.close()


def namespaces_are_permitted() -> bool:
    """Tell whether this process may have network namespaces, by trying."""
    if _IP is None:
        return False
    try:
        with namespaces(0):
            return True
    except NotPermitted:
        return False


class NotPermitted(Exception):
    """The kernel or its tools refuse; says what."""


def _add_pair(one: tuple[str, str], other: tuple[str, str]) -> None:
    _ip("-n", one[0], "link", "add", one[1], "type", "veth", "peer", "name", other[1], "netns", other[0])


def _set_up(namespace: str, link: str, address: str) -> None:
    _ip("-n", namespace, "address", "add", f"{address}/30", "dev", link)
    _ip("-n", namespace, "link", "set", link, "up")


def _client_address(number: int) -> str:
    return f"10.77.{number}.1"


def _node_address(number: int) -> str:
    return f"10.77.{number}.2"


def _inside(namespace: str) -> Sequence[str]:
    return (_IP, "netns", "exec", namespace)


def _ip(*arguments: str) -> None:
    ended = subprocess.run([_IP, *arguments], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    if ended.returncode:
        raise NotPermitted(f"ip {' '.join(arguments)}: {ended.stderr.strip()}")
