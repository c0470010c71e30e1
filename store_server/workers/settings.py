"""What a worker is started with: its settings, in one argument that `ps` shows."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Self, TypeAlias

from pydantic import TypeAdapter

from store_server.cluster.cluster_config import ClusterConfig
from store_server.config import ServerConfig
from store_server.listen_address import ListenAddress
from store_server.placement import Placement
from store_server.storage.data_root import Place, PlacedVersion
from store_server.storage.pages.resident_set import LEAST_BUDGET_BYTES

Quarantined: TypeAlias = tuple[tuple[PlacedVersion, str], ...]


def divided(config: ServerConfig, workers: int) -> list[ServerConfig]:
    """Return the settings of each worker of a node: its own address and its part of the memory budget.

    Raises ValueError.
    """
    listen, budget = ListenAddress.parse(config.listen), config.memory_budget_bytes
    if budget is not None and budget // workers < LEAST_BUDGET_BYTES:
        whom = f" for {workers} workers" if workers > 1 else ""
        raise ValueError(
            f"--memory-budget{whom} must be at least {workers * LEAST_BUDGET_BYTES:,} bytes, got {budget:,}"
        )
    share = None if budget is None else budget // workers
    return [
        dataclasses.replace(
            config,
            listen=listen.of_worker(number),
            metrics_listen=None,  # the parent shows those of all
            health_listen=None,  # the parent answers for all
            memory_budget_bytes=share,
            limits=config.limits.of_worker(workers),
            cluster=_of_worker(config.cluster, number),
            access=dataclasses.replace(config.access, speaks_for_node=number == 0),
        )
        for number in range(workers)
    ]


def _of_worker(cluster: ClusterConfig | None, number: int) -> ClusterConfig | None:
    return None if cluster is None else dataclasses.replace(cluster, speaks_for_node=number == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """One worker. `config.listen` is its own address. It has the ends of three channels, and where it leaves marks.

    `quarantined` are versions in quarantine that the data root does not tell of, and why.
    """

    number: int
    config: ServerConfig
    placement: Placement | None
    quarantined: Quarantined = ()
    control_descriptor: int
    memory_descriptor: int
    marks_descriptor: int
    metrics_descriptor: int

    def to_argument(self) -> str:
        """Return the settings as text."""
        return json.dumps(TypeAdapter(type(self)).dump_python(self, mode="json"))  # which knows infinity, too

    @classmethod
    def from_argument(cls, text: str) -> Self:
        """Return what `to_argument` wrote, by the types of the fields, those of nested settings included."""
        return TypeAdapter(cls).validate_python(json.loads(text))


def placed_version(values: object) -> PlacedVersion:
    """Return the version that was made to JSON. Raises ValueError for what names none."""
    match values:
        case [str(table), str(version), [int(device), int(inode), int(changed_ns)]]:
            return PlacedVersion(table, version, Place(device, inode, changed_ns))
    raise ValueError(f"no version of a data root is named by {values!r:.200}")
