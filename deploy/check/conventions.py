"""What all parts of deploy/ must agree on."""

from __future__ import annotations

from typing import Final

PORTS: Final = {"lookups": 50051, "admin": 50050, "metrics": 9464, "health": 50049}
"""The ports of a node where nobody chose others."""

OPTION_OF_PORT: Final = {
    "--listen": "lookups",
    "--admin-listen": "admin",
    "--metrics-listen": "metrics",
    "--health-listen": "health",
}
HEALTH_SERVICES: Final = {"", "startup", "liveness"}
"""What can be asked at the health port: ready for clients, tables opened, the process answers."""

USER_ID: Final = 10001
"""Whom a node runs as in a container."""

JOB: Final = "engram-store"
"""What Prometheus calls the nodes."""
