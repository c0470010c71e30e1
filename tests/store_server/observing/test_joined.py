"""Several expositions as one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from support.scraping import Scrape

from store_server.observing.joined import joined


def exposition(worker: str, *, has_gauge: bool = True) -> bytes:
    registry = CollectorRegistry()
    Counter("rows", "Rows.", ("worker", "table"), registry=registry).labels(worker, 'a"\n# HELP b').inc(int(worker) + 1)
    Histogram("seconds", "Of\ntwo lines.", ("worker",), registry=registry).labels(worker).observe(0.5)
    Counter("empty", "Has labels, and no sample.", ("worker",), registry=registry)
    if has_gauge:
        Gauge("bytes", "Bytes.", ("worker",), registry=registry).labels(worker).set(7)
    return generate_latest(registry)


def test_the_samples_of_all_stand_below_one_head():
    scrape = Scrape.of(joined([exposition("0", has_gauge=False), exposition("1"), exposition("2")]).decode())

    assert scrape.total("rows_total") == 1 + 2 + 3
    assert scrape.labels("rows_total", "table") == {'a"\n# HELP b'}
    assert scrape.total("seconds_count") == 3
    assert scrape.labels("bytes", "worker") == {"1", "2"}


def test_one_alone_stays_as_it_is():
    alone = exposition("0")

    assert joined([alone]) == alone


def test_of_none_nothing_is_shown():
    assert joined([]) == b""
