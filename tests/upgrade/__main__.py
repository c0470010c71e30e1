"""`python -m upgrade`: nodes of the last release are replaced by those of this one, and back, as often as you like.

Prints what a client of each release has seen; the exit status is 1 if a fetch failed or a row was wrong.
"""

import argparse
import tempfile
from pathlib import Path

from support.etcd import PROGRAM
from upgrade.clusters import etcd_cluster, file_cluster
from upgrade.releases import last_release, this_release
from upgrade.rolling import upgrade_and_back


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m upgrade", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="(default: %(default)s)")
    rounds = parser.parse_args().rounds
    all_right = True
    for name, running_cluster in {"map in a file": file_cluster, "etcd": etcd_cluster}.items():
        if name == "etcd" and PROGRAM is None:
            print("etcd: left out, as it is missing (Debian: apt-get install etcd-server)")
            continue
        print(f"{name}: {rounds} times up and down again", flush=True)
        with tempfile.TemporaryDirectory(prefix="engram-store-upgrade-") as directory:
            last = last_release(Path(directory) / "last")
            with running_cluster(Path(directory), last) as cluster:
                for seen in upgrade_and_back(cluster, last, this_release(), rounds=rounds):
                    all_right = all_right and seen.is_right
                    fetches = f"{sum(seen.fetches.values()):,} fetches"
                    failures = f"{len(seen.failures)} failed {seen.failures or ''}".strip()
                    print(f"  client of {seen.release} release: {fetches}, {failures}, {seen.wrong} wrong")
    return 0 if all_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
