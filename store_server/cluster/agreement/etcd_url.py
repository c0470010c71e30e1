"""Where a cluster is in etcd: etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

_URL: Final = re.compile(r"(?P<scheme>etcds?)://((?P<user>[^@/:]+)@)?(?P<endpoints>[^@/]+)/(?P<name>[^/]+)")
_ENDPOINT: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SCHEMES: Final = ("etcd", "etcds")


def without_password(text: str) -> str:
    """Return what was given as a URL, without what might be a password."""
    return re.sub(r"(//|^).*@", r"\1...@", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdUrl:
    """A cluster and the etcd that it is agreed upon in."""

    endpoints: tuple[str, ...]
    """HOST:PORT of each member of etcd."""
    name: str
    """Of the cluster."""
    user: str | None = None
    with_tls: bool = False

    @classmethod
    def parse(cls, text: str) -> EtcdUrl:
        """Raises ValueError, without what might be a password."""
        found = _URL.fullmatch(text)
        endpoints = tuple(found["endpoints"].split(",")) if found is not None else ()
        if (
            found is None
            or not all(_ENDPOINT.fullmatch(each) for each in endpoints)
            or not _NAME.fullmatch(found["name"])
        ):
            raise ValueError(
                "a cluster in etcd is named by etcd://[USER@]HOST:PORT[,HOST:PORT]/NAME, etcds:// with TLS; NAME is 1 "
                "to 100 letters, digits, dots, dashes and underscores, and a password does not belong there; got "
                f"{without_password(text)!r:.200}"
            )
        user = unquote(found["user"]) if found["user"] is not None else None
        return cls(endpoints=endpoints, name=found["name"], user=user, with_tls=found["scheme"] == "etcds")

    @property
    def map_key(self) -> bytes:
        """Where the map is: a serialised ShardMap."""
        return f"/engram/{self.name}/map".encode()

    @property
    def id_key(self) -> bytes:
        """Where the id of the cluster is, which tells it from others of its name."""
        return f"/engram/{self.name}/id".encode()

    @property
    def nodes_prefix(self) -> bytes:
        """Where nodes register, each at its id behind this."""
        return f"/engram/{self.name}/nodes/".encode()

    @property
    def publishers_prefix(self) -> bytes:
        """Where publishers register, each at its name behind this."""
        return f"/engram/{self.name}/publishers/".encode()
