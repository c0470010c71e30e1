"""Times in words."""

from __future__ import annotations


def milliseconds(seconds: float | None) -> str:
    """Return a time for people: 0.243 ms, 12.1 ms, 1,204 ms; a dash for none."""
    if seconds is None:
        return "-"
    value = seconds * 1e3
    if value < 10:
        return f"{value:.3f} ms"
    return f"{value:.1f} ms" if value < 1000 else f"{value:,.0f} ms"
