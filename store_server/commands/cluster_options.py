"""Options of commands that run a node of a cluster, or speak to its etcd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from store_server.commands.byte_size import parse_byte_size

if TYPE_CHECKING:
    from collections.abc import Sequence

_PANEL = "Cluster"

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="URL",
        rich_help_panel=_PANEL,
        help="Run as a node of the cluster whose shard map is at file:///PATH, or in etcd at "
        "etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME (etcds:// with TLS).",
    ),
]
NodeId: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="ID", rich_help_panel=_PANEL, help="Name of this node, the same whenever it comes back."),
]
Advertise: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        rich_help_panel=_PANEL,
        help="Where clients and other nodes reach this node, if not where it listens.",
    ),
]
Labels: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        rich_help_panel=_PANEL,
        help="A failure domain, zone=NAME or rack=NAME, or both: copies of a row are spread over zones, and in a zone "
        "over racks.",
    ),
]
Capacity: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES",
        parser=parse_byte_size,
        rich_help_panel=_PANEL,
        help="Bytes of rows that this node can hold, such as 512GiB; by default as many as the others on average, and "
        "what has no place with them.",
    ),
]
Replicas: TypeAlias = Annotated[
    int, typer.Option(rich_help_panel=_PANEL, help="How many nodes are to hold each row, in a cluster that begins.")
]
LeaseSeconds: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="SECONDS", rich_help_panel=_PANEL, help="How long the others take this node for alive if it is silent."
    ),
]
LostAfter: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        help="How long a node may be away before its rows are copied to others. Alike on all nodes.",
    ),
]
AllLostAfter: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        help="The same where half of the nodes went away together. Alike on all nodes.",
    ),
]
CopyRate: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES",
        parser=parse_byte_size,
        rich_help_panel=_PANEL,
        help="Bytes a second, such as 200MiB, at which this node fetches rows that it is to hold, and reads those that "
        "a new version shares with an older one; by default there is no limit.",
    ),
]
KeepSeconds: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        help="How long this node keeps rows on its disk that the shard map no longer wants it to have, for clients "
        "whose map is old.",
    ),
]
RetireAfter: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        help="How long the shard map keeps a version that is neither current nor previous any more, for clients that "
        "opened it, and how long nobody must have looked it up when it leaves. Alike on all nodes.",
    ),
]
RetireAtLatest: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        help="When such a version leaves though it is still looked up. Alike on all nodes.",
    ),
]
ScrubRate: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES",
        parser=parse_byte_size,
        rich_help_panel=_PANEL,
        help="Bytes a second at which this node reads all that it holds again and again, to find bad blocks and fetch "
        "them anew; by default not at all.",
    ),
]
PasswordFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--etcd-password-file",
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="Holds the password of USER; by default the environment does, in ETCD_PASSWORD.",
    ),
]
CaFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--etcd-ca", metavar="FILE", rich_help_panel=_PANEL, help="Certificates that etcd's must be signed by."
    ),
]
CertFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--etcd-cert", metavar="FILE", rich_help_panel=_PANEL, help="Certificate to show to etcd."),
]
KeyFile: TypeAlias = Annotated[
    Path | None, typer.Option("--etcd-key", metavar="FILE", rich_help_panel=_PANEL, help="Key of that certificate.")
]

NodeTokenFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", rich_help_panel=_PANEL, help="Holds the token that this node shows to others, to copy blocks."
    ),
]
NodeCa: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=_PANEL,
        help="Certificates (PEM) of which one must have signed that of each other node: they are spoken to over TLS.",
    ),
]
NodeCert: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Certificate (PEM) to show to other nodes."),
]
NodeKey: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", rich_help_panel=_PANEL, help="Key of that certificate.")
]


def parse_labels(given: Sequence[str] | None) -> dict[str, str]:
    """Return the labels of KEY=VALUE each; raises ValueError."""
    labels: dict[str, str] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or key in labels:
            raise ValueError(f"--label takes KEY=VALUE, each key once, got {text!r:.100}")
        labels[key] = value
    return labels
