"""What would keep a node from starting with its settings: in themselves, and on this host.

A node finds the same by the same means when it starts: what it needs may come later, or be in other processes.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from store_server.cluster.agreement.etcd_url import EtcdUrl
from store_server.cluster.known_map import KnownMap
from store_server.commands.checked_settings import SettingsRefused, checked
from store_server.commands.expiry import expired_authorities, expired_certificate
from store_server.commands.host_checks import not_free
from store_server.listen_address import ListenAddress
from store_server.storage import RootOfAnotherCluster, StorageError
from store_server.storage.data_root import TABLES, DataRoot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_server.commands.serve_options import ServeOptions
    from store_server.commands.setting_layers.layer import Layer


def setting_problems(options: ServeOptions, layers: Layer) -> Iterator[str]:
    """Say what is wrong with settings, with the files that they name, and with the data root."""
    try:
        checked(options, layers)
    except SettingsRefused as error:
        yield from error.problems
    yield from _root_problems(options)


def expiry_problems(options: ServeOptions) -> Iterator[str]:
    """Say which certificates are over. A node starts with them, and goes on with others once they are renewed."""
    now = time.time()
    yield from expired_certificate("--tls-cert", options.transport.tls_cert, now)
    yield from expired_authorities("--tls-client-ca", options.transport.tls_client_ca, now)
    yield from expired_certificate("--node-cert", options.cluster.node_cert, now)
    yield from expired_authorities("--node-ca", options.cluster.node_ca, now)


def address_problems(options: ServeOptions) -> Iterator[str]:
    """Say which addresses of a node are taken, or none of this host."""
    option_at: dict[str, str] = {}
    for option, address in _addresses(options):
        if address in option_at:
            yield f"{option}: {option_at[address]} has {address}, too"
        else:
            yield from not_free(option, address)
        if not address.endswith(":0"):
            option_at[address] = option


def _root_problems(options: ServeOptions) -> Iterator[str]:
    if options.root is None or (options.cluster.cluster is not None and not (options.root / TABLES).exists()):
        return  # one of a cluster begins with nothing
    try:
        root = DataRoot.open(options.root)
    except StorageError as error:
        yield str(error)
        return
    for name in options.tables.in_memory or ():
        try:
            root.current_version(name)
        except StorageError as error:
            yield f"--in-memory {name}: {error}"
    with suppress(ValueError):  # which the settings themselves are refused for
        if options.cluster.cluster is not None:
            yield from _of_another_cluster(options.root, EtcdUrl.parse(options.cluster.cluster).name)


def _of_another_cluster(root: Path, cluster: str) -> Iterator[str]:
    try:
        KnownMap(root, cluster=cluster)
    except RootOfAnotherCluster as error:
        yield str(error)


def _addresses(options: ServeOptions) -> Iterator[tuple[str, str]]:
    """Yield each address where the node would listen, with its option: --listen, of every worker, and --NAME-listen."""
    with suppress(ValueError):  # which the settings themselves are refused for
        listen = ListenAddress.parse(options.transport.listen)
        for number in range(options.processes.workers):
            yield "--listen", listen.of_worker(number)
    for group in options.groups():
        for field in dataclasses.fields(group):
            address = getattr(group, field.name)
            if field.name.endswith("_listen") and address is not None:
                yield f"--{field.name.replace('_', '-')}", address
