"""The end-to-end comparison: its short form, what it refuses, and the arithmetic behind what it says."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch
from bench.end_to_end.cores import Cores
from bench.end_to_end.hiding import Trial, longest_hidden, search_end
from bench.end_to_end.paired import Ratio
from bench.end_to_end.rounds import OutputsDiffer, run_rounds
from bench.end_to_end.task import Done
from support.delaying_proxy import delaying_proxy
from support.environment import with_tests

FORMS = {"rows held", "prefetched", "in the layer", "in process"}
ADDED_SECONDS = 0.02


def test_the_short_form_gives_equal_outputs_at_every_distance(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "bench.end_to_end", "--tiny", "--no-figures", "--out", str(tmp_path)],
        env=with_tests(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "end_to_end.json").read_text())
    figures = {(one["task"], one["added_ms"], one["form"]): one for one in report["figures"]}
    proxied = {"prefetched, by proxy", "in the layer, by proxy"}
    for task in ("prefill", "decode"):
        assert {form for other, added, form in figures if (other, added) == (task, 0)} == FORMS | proxied
        assert {form for other, added, form in figures if (other, added) == (task, 5)} == FORMS
        assert figures[task, 5, "in the layer"]["step_ms"] > 2 * 5  # a round trip for each of two layers
    assert [(one["task"], one["added_ms"]) for one in report["bars"]] == [("prefill", 0), ("prefill", 1), ("decode", 0)]
    assert [(one["task"], one["block"]) for one in report["hiding"]] == [
        (task, block) for task in ("prefill", "decode") for block in (1, 2)
    ]


class GivesOutputs:
    """A task whose forms are the hidden states that they give."""

    name = "decode"

    def run(self, decoder, form, number):  # noqa: ARG002
        return Done(1.0, 1.0, len(form), 1, {}, {}, list(form))


def test_a_form_with_other_bits_is_refused():
    right = torch.ones(2, 3)
    wrong = right.clone()
    wrong[1, 2] = torch.nextafter(wrong[1, 2], torch.tensor(2.0))

    with pytest.raises(OutputsDiffer, match="decode: the hidden states of 'prefetched' are not those of 'held'"):
        run_rounds(None, GivesOutputs(), {"held": [right, right], "prefetched": [right, wrong]}, rounds=1)
    done = run_rounds(None, GivesOutputs(), {"held": [right, right], "prefetched": [right, right.clone()]}, rounds=2)
    assert {name: len(rounds) for name, rounds in done.items()} == {"held": 2, "prefetched": 2}


def test_a_ratio_is_of_pairs_so_that_what_slows_both_down_does_not_count():
    ideal = [100.0, 10.0, 55.0, 1.0, 73.0]

    ratio = Ratio.of([0.5 * rate for rate in ideal], ideal)

    assert (ratio.low, ratio.median, ratio.high, ratio.pairs) == pytest.approx((0.5, 0.5, 0.5, 5))


def test_a_bar_is_reached_or_missed_only_if_the_whole_interval_says_so():
    ratio = Ratio.of([0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0], [1.0] * 7)

    assert ratio.low < ratio.median == 0.97 < ratio.high
    assert ratio.verdict(0.93) == ratio.verdict(ratio.low) == "reached"
    assert ratio.verdict(0.97) == "not told apart"
    assert ratio.verdict(1.01) == "missed"


def hidden_up_to(seconds):
    """A layer that covers so much; its step takes a second, of which a hundredth may be waited."""
    return lambda added: Trial(added, 0.01 + (added - seconds), step_seconds=1.0, turn_seconds=0.2)


@pytest.mark.parametrize("end", [0.003, 0.0777, 0.2])
def test_the_search_finds_where_hiding_ends(end):
    trials = search_end(hidden_up_to(end), halvings=20)

    assert end - 0.00025 <= longest_hidden(trials) <= end
    assert len(trials) < 12


def test_a_layer_that_waits_with_nothing_added_hides_nothing():
    trials = search_end(hidden_up_to(-0.001), halvings=20)

    assert len(trials) == 1
    assert longest_hidden(trials) is None


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_what_is_started_in_the_block_runs_on_its_core_and_the_caller_does_not():
    before, found = os.sched_getaffinity(0), []
    cores = Cores.of_this_machine()

    with cores.starting_on(cores.io):
        thread = threading.Thread(target=lambda: found.append(os.sched_getaffinity(0)))
        thread.start()
    thread.join()

    assert found == [cores.io]
    assert cores.io.isdisjoint(cores.model)
    assert os.sched_getaffinity(0) == before


@pytest.fixture(scope="module")
def through_proxy():
    """A proxy, and both ends of a connection through it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        with delaying_proxy(f"127.0.0.1:{listener.getsockname()[1]}") as proxy:
            host, port = proxy.address.split(":")
            with socket.create_connection((host, int(port)), timeout=60) as near, listener.accept()[0] as far:
                far.settimeout(60)
                yield proxy, near, far


def received(connection, num_bytes):
    found = bytearray()
    while len(found) < num_bytes:
        found += connection.recv(num_bytes - len(found))
    return bytes(found)


def round_trip_seconds(near, far):
    began = time.perf_counter()
    near.sendall(b"ask")
    assert received(far, 3) == b"ask"
    far.sendall(b"answer")
    assert received(near, 6) == b"answer"
    return time.perf_counter() - began


def test_the_proxy_adds_a_round_trip_and_takes_it_away_again(through_proxy):
    proxy, near, far = through_proxy

    proxy.add_round_trip(ADDED_SECONDS)
    assert round_trip_seconds(near, far) >= ADDED_SECONDS

    proxy.add_round_trip(0)
    assert min(round_trip_seconds(near, far) for _ in range(50)) < ADDED_SECONDS


def test_the_proxy_delays_each_direction_by_half(through_proxy):
    proxy, near, far = through_proxy
    proxy.add_round_trip(ADDED_SECONDS)

    for sender, receiver in ((near, far), (far, near)):
        began = time.perf_counter()
        sender.sendall(b"word")
        assert received(receiver, 4) == b"word"
        assert time.perf_counter() - began >= ADDED_SECONDS / 2


def test_the_proxy_delays_many_bytes_as_long_as_one(through_proxy):
    proxy, near, far = through_proxy
    proxy.add_round_trip(2 * ADDED_SECONDS)
    content = os.urandom(16 << 20)  # 256 of the proxy's pieces and more
    sender = threading.Thread(target=near.sendall, args=(content,))

    began = time.perf_counter()
    sender.start()
    arrived = received(far, len(content))
    seconds = time.perf_counter() - began
    sender.join()

    assert arrived == content
    assert seconds < 256 * ADDED_SECONDS / 2  # one after another would take twice as long


def test_the_proxy_adds_nothing_negative(through_proxy):
    with pytest.raises(ValueError, match=r"got -0\.1 s"):
        through_proxy[0].add_round_trip(-0.1)
