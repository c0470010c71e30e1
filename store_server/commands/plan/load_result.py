"""What `engram-store load --json` wrote, as what lookups cost."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from store_server.commands.failure import CommandFailed
from store_server.commands.plan.messages import rows_a_piece
from store_server.commands.plan.node_rate import NodeRate, fitted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CLIENT_WAS_BUSY: Final = "the client was the limit of a load that was measured: a node may serve more"
# A client that used too little to be seen is not free.
_LEAST_CLIENT_SECONDS: Final = 1e-9


def rate_from_load(files: Sequence[Path]) -> NodeRate:
    """Return what lookups cost in one or more loads; raises CommandFailed for what says not what a node can do."""
    results = [_read(file) for file in files]
    row_bytes = {result["row_bytes"] for result in results}
    if len(row_bytes) > 1:
        raise CommandFailed(f"the loads were measured with rows of {min(row_bytes)} and of {max(row_bytes)} bytes")
    sizes = [result["rows_a_request"] for result in results]
    return NodeRate(
        node=fitted(sizes, [result["node_seconds"] for result in results]),
        client=fitted(sizes, [result["client_seconds"] for result in results]),
        sizes=tuple(sizes),
        row_bytes=row_bytes.pop(),
        remark=_CLIENT_WAS_BUSY if any(result["client_was_busy"] for result in results) else "",
    )


def _read(file: Path) -> dict[str, Any]:
    """Return what is used of one result, the seconds for one request."""
    try:
        result = json.loads(file.read_text("utf-8"))
        _require_a_limit(file, result)
        return _figures(result)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailed(f"{file} is not what `engram-store load --json` writes: {error!r}") from error


def _require_a_limit(file: Path, result: dict[str, Any]) -> None:
    """Refuse a load that failed, and one that did not ask for as much as the node can give."""
    wrong, failed = result["check"]["rows_wrong"], result["fetches"]["failed"]
    search = result.get("find_rate") or {}
    refusals = {
        f"{wrong:,} rows were wrong": wrong > 0,
        f"{failed:,} fetches failed": failed > 0,
        "no row arrived": not result["rows_per_second"] > 0,
        "no rate kept within the limit of --find-rate": search.get("highest_rate_per_second", 1) is None,
        "it asked at a fixed rate, which a node may well exceed; measure with --concurrency or --find-rate": (
            result["load"]["loop"] == "open" and not search
        ),
        f"{result['url']} is several nodes; measure one": "," in result["url"],
    }
    for refusal, applies in refusals.items():
        if applies:
            raise CommandFailed(f"{file} does not say what a node serves: {refusal}")


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    load, client, row_bytes = result["load"], result["client"], int(result["row_bytes"])
    rows_per_fetch, rows_per_second = int(load["rows_per_fetch"]), float(result["rows_per_second"])
    client_cores = float(client["cpu_share_of_a_core"]) * int(load["processes"])
    if row_bytes < 1 or rows_per_fetch < 1 or not (rows_per_second < math.inf and 0 <= client_cores < math.inf):
        raise ValueError(f"{row_bytes=}, {rows_per_fetch=}, {rows_per_second=}, {client_cores=}")
    rows = rows_a_piece(rows_per_fetch, row_bytes)
    seconds = rows / rows_per_second
    return {
        "row_bytes": row_bytes,
        "rows_a_request": rows,
        "node_seconds": seconds,
        "client_seconds": max(client_cores * seconds, _LEAST_CLIENT_SECONDS),
        "client_was_busy": bool(client["is_the_limit"]),
    }
