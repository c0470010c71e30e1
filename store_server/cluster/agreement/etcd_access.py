"""What etcd asks for before it answers: a password, certificates. And how it fails us."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from store_server.cluster.agreement.map_source import MapSourceFailed
from store_server.cluster.agreement.registry import RegistryRefuses

_PASSWORD: Final = "ETCD_PASSWORD"  # noqa: S105  # where it is, not what it is


class EtcdAway(MapSourceFailed):
    """A member of etcd does not answer."""


class EtcdRefused(RegistryRefuses):
    """etcd answers, and does not let us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAccess:
    """What etcd may ask for; see ClusterConfig."""

    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def password(self) -> str:
        """Return the password; raises MapSourceFailed."""
        if self.password_file is not None:
            return _content(self.password_file).decode("utf-8", "replace").rstrip("\r\n")
        found = os.environ.get(_PASSWORD)  # not a setting: those of a worker can be seen by all users of the host
        if found is None:
            raise EtcdRefused(f"etcd: the user needs a password: give a file of it, or {_PASSWORD} in the environment")
        return found

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what TLS needs; raises MapSourceFailed."""
        files = (self.ca_file, self.key_file, self.cert_file)
        return grpc.ssl_channel_credentials(*(None if file is None else _content(file) for file in files))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise EtcdRefused(f"etcd: {file} cannot be read: {error.strerror}") from error
