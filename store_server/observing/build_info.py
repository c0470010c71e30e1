"""The versions of what runs, as a metric."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric


class BuildInfo(Collector):
    """Collects the versions as the labels of a 1, as is usual."""

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        info = GaugeMetricFamily(
            "engram_build_info", "The versions of what runs here.", labels=("version", "python", "grpc")
        )
        info.add_metric((version("engram-store"), platform.python_version(), version("grpcio")), 1)
        yield info
