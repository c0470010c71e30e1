"""A rolling upgrade and the way back: nodes replaced one after the other while clients of both releases fetch."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from upgrade.clusters import NUM_NODES, MixedCluster
from upgrade.releases import Release

_CLIENT_END_SECONDS = 60.0


class Pace(NamedTuple):
    """How much clients do."""

    fetches_between: int = 10
    """Times that each does each of its habits between two changes."""
    pause_seconds: float = 0.01
    """Of each habit, between two times."""


STEADY: Final = Pace()


class Seen(NamedTuple):
    """What a client of a release has seen."""

    release: str
    fetches: dict[str, int]
    wrong: int
    failures: list[str]

    @property
    def is_right(self) -> bool:
        """Whether it was given all rows that it asked for, each as it should be."""
        return not self.failures and not self.wrong and all(self.fetches.values())


class Load:
    """A client in a process of its own."""

    def __init__(self, release: Release, url: str, pace: Pace) -> None:
        self._release = release
        self._fetches_between = pace.fetches_between
        self._process = release.start("upgrade.client", url, str(pace.pause_seconds))

    def ask(self) -> None:
        """Have it tell, in `seen`, once it has done each habit as often again as between two changes."""
        self._process.stdin.write(f"{self._fetches_between}\n")
        self._process.stdin.flush()

    def end(self) -> Seen:
        """Let it finish what is under way."""
        self._process.stdin.close()
        seen = self.seen()
        self._process.wait(_CLIENT_END_SECONDS)
        self._process.stdout.close()
        return seen

    def kill(self) -> None:
        """End it if it is still there."""
        self._process.kill()
        self._process.wait()

    def seen(self) -> Seen:
        """Wait for what it tells."""
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"a client of {self._release.name} release has ended")
        told = json.loads(line)
        if not told["client"].startswith(str(self._release.folder)):
            raise AssertionError(f"a client of {self._release.name} release runs {told['client']}")
        return Seen(self._release.name, told["fetches"], told["wrong"], told["failures"][:5])


@contextlib.contextmanager
def loads(releases: Sequence[Release], url: str, pace: Pace) -> Iterator[list[Load]]:
    """Start a client of each of these releases, and wait until each has fetched."""
    with contextlib.ExitStack() as stack:
        started = []
        for release in releases:
            load = Load(release, url, pace)
            stack.callback(load.kill)
            started.append(load)
        go_on(started)
        yield started


def go_on(clients: Sequence[Load]) -> None:
    """Wait until every client has fetched as often again as between two changes."""
    for client in clients:
        client.ask()
    for client in clients:
        client.seen()


def replace_nodes(cluster: MixedCluster, num_nodes: int, release: Release, clients: Sequence[Load]) -> None:
    """Replace nodes one after the other by those of a release, with every client fetching before each step."""
    for number in range(num_nodes):
        if (code := cluster.stop(number)) != 0:
            raise AssertionError(f"node {number} ended with exit status {code}")
        go_on(clients)
        cluster.start(number, release)
        go_on(clients)


def upgrade_and_back(
    cluster: MixedCluster,
    last: Release,
    this: Release,
    *,
    num_nodes: int = NUM_NODES,
    rounds: int = 1,
    pace: Pace = STEADY,
) -> list[Seen]:
    """Replace nodes of the last release by those of this one and back; returns what a client of each has seen."""
    with loads((last, this), cluster.url, pace) as clients:
        for _ in range(rounds):
            replace_nodes(cluster, num_nodes, this, clients)
            replace_nodes(cluster, num_nodes, last, clients)
        return [client.end() for client in clients]
