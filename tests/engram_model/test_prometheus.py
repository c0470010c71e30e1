"""What prefetching could not hide, as Prometheus is shown it."""

from prometheus_client import generate_latest
from support.scraping import Scrape

from engram_model.prefetch.metrics import LayerStats, PrefetchStats, RingStats
from engram_model.prometheus import PrefetchCollector


class FakePrefetcher:
    def stats(self):
        layers = {1: LayerStats(turns=10, late=3, waited_seconds=0.5), 14: LayerStats(turns=10)}
        ring = RingStats(num_slots=1, slot_bytes=1, in_use=0, most_in_use=1, waits=0, waited_seconds=0.0)
        return PrefetchStats(layers=layers, ring=ring)


def test_late_layers_are_shown_by_layer():
    found = Scrape.of(generate_latest(PrefetchCollector(FakePrefetcher())).decode())

    assert found.total("engram_model_late_layers_total", layer="1") == 3
    assert found.total("engram_model_late_layers_total", layer="14") == 0
    assert found.total("engram_model_turns_total") == 20
    assert found.total("engram_model_waited_seconds_total", layer="1") == 0.5
