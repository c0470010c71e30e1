"""The options of `engram-store serve`, and whether a command line keeps to them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from check.conventions import OPTION_OF_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@functools.cache
def serve_options() -> frozenset[str]:
    """Return all options of `serve`, as the installed node has them."""
    from typer.main import get_command

    from store_server.commands import build_app

    command = get_command(build_app(["serve"]))
    serve = getattr(command, "commands", {}).get("serve", command)
    return frozenset(name for each in serve.params for name in (*each.opts, *each.secondary_opts))


def unknown_options(arguments: Sequence[str]) -> Iterator[str]:
    """Say which options of a command line `serve` does not have."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in serve_options():
            yield f"engram-store serve has no option {name}"


def value_of(arguments: Sequence[str], name: str) -> str:
    """Return the value of an option, written with = or as the next word; "" if it is not there. The last one counts."""
    value = ""
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if here == name:
            value = following
        elif here.startswith(f"{name}="):
            value = here.partition("=")[2]
    return value


def too_short(name: str, seconds: float, arguments: Sequence[str]) -> Iterator[str]:
    """Say whether a node is killed earlier than it may take to end, by who waits for it for so many `seconds`."""
    from store_server.workers.supervisor import SECONDS_BEYOND_DRAIN

    drain = value_of(arguments, "--drain-seconds")
    if not drain:
        yield f"--drain-seconds is missing, by which {name} must go"
        return
    least = float(drain) + SECONDS_BEYOND_DRAIN
    if seconds < least:
        yield f"{name}, {seconds:g}, must be {least:g} or more, {SECONDS_BEYOND_DRAIN:g} above --drain-seconds, {drain}"


def wrong_ports(arguments: Sequence[str], ports: Mapping[str, int]) -> Iterator[str]:
    """Say where a node listens on other ports than are expected."""
    for option, name in OPTION_OF_PORT.items():
        given = value_of(arguments, option)
        if given and given.rpartition(":")[2] != str(ports[name]):
            yield f"{option} is at {given}, where port {ports[name]} is that of {name}"
