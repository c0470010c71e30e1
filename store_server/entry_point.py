"""Where `engram-store` starts: the client alone installs it too, without the packages it needs."""

from __future__ import annotations

import sys

from store_server.grpc_threads import poll_where_grpc_waits


def main() -> int:
    """Run the command line, or say what is missing; returns the exit status."""
    poll_where_grpc_waits()
    try:
        from store_server.commands import main as run

        return run()  # commands import what only they need
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"error: no package {error.name!r}; engram-store needs: pip install 'engram-store[server]' "
            "(from a checkout: pip install '.[server]')\n"
        )
        return 1
