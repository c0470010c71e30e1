"""How a command that is no node finds a cluster, and what it says if it does not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from engram_store.credential_files import CredentialsRefused
from store_server.cluster.agreement.etcd_access import EtcdAway
from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.blocks.block_source import InvalidSourceUrl
from store_server.cluster.cluster_config import ClusterConfig
from store_server.cluster.next_map.leaving import CannotLeave
from store_server.cluster.next_map.publishing import CannotPublish
from store_server.cluster.node_security import CannotSpeakTo
from store_server.commands.failure import CommandFailed
from store_server.listen_address import CannotListen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FAILURES: Final = (
    CannotPublish,
    CannotLeave,
    CannotListen,
    CannotSpeakTo,
    CredentialsRefused,
    InvalidSourceUrl,
    MapSourceFailed,
    ValueError,
)

ClusterUrl: TypeAlias = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="URL",
        help="The cluster, in etcd at etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME (etcds:// with TLS).",
    ),
]

SetName: TypeAlias = Annotated[
    str, typer.Option("--set", metavar="NAME", help="The set of tables, which switches together.")
]


def access_of(
    url: str, password_file: Path | None, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> ClusterConfig:
    """Return the settings of somebody who is in touch with a cluster. Raises ValueError."""
    return ClusterConfig(
        url=url,
        node_id="command",  # not registered
        password_file=password_file,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )


@contextmanager
def cluster_failures() -> Iterator[None]:
    """Say in one line what went wrong."""
    try:
        yield
    except EtcdAway as error:
        raise CommandFailed(f"{error}; see the address, and whether it runs: `etcdctl endpoint health`") from error
    except _FAILURES as error:
        raise CommandFailed(str(error)) from error
