"""What a node shows of itself to Prometheus, read as Prometheus would."""

import re
import ssl
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.processes import NodeProcess

SCRAPE_SECONDS = 30.0


@dataclass(frozen=True)
class Scrape:
    """The samples of one exposition; each metric must have had one head, and its samples below it."""

    samples: list[Sample]

    @classmethod
    def of(cls, text: str) -> "Scrape":
        families = list(text_string_to_metric_families(text))
        names = [family.name for family in families]
        assert len(names) == len(set(names)), names
        assert "unknown" not in {family.type for family in families}
        samples = [sample for family in families for sample in family.samples]
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
        assert {each for each, times in Counter(series).items() if times > 1} == set()
        return cls(samples)

    def where(self, name: str, **labels: str) -> Iterator[Sample]:
        """The samples of a name that have these labels, perhaps among others."""
        return (each for each in self.samples if each.name == name and labels.items() <= each.labels.items())

    def total(self, name: str, **labels: str) -> float:
        """Their sum, 0 for none."""
        return sum(sample.value for sample in self.where(name, **labels))

    def labels(self, name: str, label: str) -> set[str]:
        """The values that a label of a metric has."""
        return {sample.labels[label] for sample in self.where(name)}


def metrics_address(node: NodeProcess) -> str:
    assert node.logged("event='metrics are shown' address=")
    return re.search(r"event='metrics are shown' address='([^']+)'", node.log)[1]


def scrape(node: NodeProcess, tls: ssl.SSLContext | None = None) -> Scrape:
    """What a node that was started with --metrics-listen shows now."""
    url = f"{'https' if tls else 'http'}://{metrics_address(node)}/metrics"
    with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS, context=tls) as response:  # noqa: S310  # a URL of ours
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Scrape.of(response.read().decode())
