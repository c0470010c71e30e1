"""Settings from environment variables: ENGRAM_LISTEN is --listen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from store_server.commands.setting_layers.layer import Layer
from store_server.commands.setting_layers.names import PREFIX, nearest, variable_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import typer

    from store_server.commands.setting_layers.names import Setting

CONFIG: Final = f"{PREFIX}CONFIG"
# Not for nodes: what clients go by, and commands that connect.
_OF_CLIENTS: Final = frozenset(
    PREFIX + name for name in ("URL", "TOKEN", "TOKEN_FILE", "CA_FILE", "CERT_FILE", "KEY_FILE", "INSECURE")
)


def from_environment(context: typer.Context, settings: Sequence[Setting], environment: Mapping[str, str]) -> Layer:
    """Return what the environment sets. A setting that may be given several times has its values between spaces.

    An empty variable sets nothing.
    """
    layer = Layer()
    known = {variable_of(setting): setting for setting in settings}
    for variable, text in environment.items():
        if variable in known and text:
            setting = known[variable]
            value = text.split() if setting.multiple else text
            layer.take(context, setting, value, origin=variable, said=f"{variable}={text!r:.200}")
        elif variable.startswith(PREFIX) and variable not in {*known, CONFIG, *_OF_CLIENTS}:
            layer.remarks.append(f"{variable} is no setting of a node{nearest(variable, (*known, CONFIG))}")
    return layer
