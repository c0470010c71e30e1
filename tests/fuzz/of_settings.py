"""Settings of a node in TOML: whatever the file says, `config check` has sentences about it or finds it sound."""

from __future__ import annotations

import contextlib
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import typer
from fuzz.target import ACCEPTED, REFUSED, TryOne, Wrong
from fuzz.toml_text import hostile_toml

from store_server.commands.checked_settings import CheckedSettings, SettingsRefused, checked
from store_server.commands.option_groups import takes_groups
from store_server.commands.serve_options import ServeOptions
from store_server.commands.setting_layers.layers import layers_of

_FILES: Final = (
    """root = "ROOT"
listen = "127.0.0.1:50051"
workers = 2
in-memory = ["a", "b"]
memory-budget = "64MiB"
drain-seconds = 1.5
log-format = "json"
metrics_listen = "127.0.0.1:9464"
""",
    """root = "ROOT"
listen = "unix:///tmp/socket"
max-rows = 1000
max-in-flight-bytes = "1GiB"
stall-seconds = 30
allow-source = ["file:///srv/models", "https://models.example/a"]
supervise = true
tls-cert = "ROOT/none.pem"
""",
    """root = "ROOT"
listen = "10.0.0.1:50051"
insecure = true
cluster = "file:///srv/map.json"
node-id = "n1"
replicas = 3
label = ["zone=a"]
copy-rate = "64MiB"
""",
)
_HINTS: Final = ('"99999999999999999999GiB"', '"-1B"', '"1e400"', '"[::1]:0"', '"unix:///"', '"ROOT"', '"a=b=c"')


@contextlib.contextmanager
def settings_target(directory: Path) -> Iterator[TryOne]:
    """Check files, of which a few settings are held against what TOML itself reads."""
    documents = [text.replace("ROOT", str(directory)) for text in _FILES]
    path = directory / "node.toml"
    found: list[CheckedSettings] = []

    @takes_groups
    def check(context: typer.Context, options: ServeOptions) -> None:
        found.append(checked(options, layers_of(context)))  # all of `config check` but whether ports are free

    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    app.command()(check)
    command = typer.main.get_command(app)

    def try_one(rng: random.Random) -> str:
        content = hostile_toml(rng, documents, _HINTS)
        path.write_bytes(content)
        found.clear()
        try:
            command.main(["--config", str(path)], standalone_mode=False)
        except SettingsRefused as error:
            "\n".join(error.problems).encode()
            return REFUSED
        _check(found[0], content)
        return ACCEPTED

    yield try_one


def _check(found: CheckedSettings, content: bytes) -> None:
    plain = {key.replace("_", "-"): value for key, value in tomllib.loads(content.decode()).items()}
    read = {
        "root": str(found.config.root),
        "listen": found.config.listen,
        "drain-seconds": str(found.config.drain_seconds),
        "workers": str(len(found.configs)),
    }
    wanted = {"root": str(Path(str(plain["root"]))), "listen": str(plain.get("listen", read["listen"]))}
    wanted |= {key: str(float(plain[key])) for key in ("drain-seconds",) if key in plain}
    wanted |= {key: str(plain[key]) for key in ("workers",) if key in plain}
    if wanted.items() - read.items():
        raise Wrong(f"{content!r:.2000}: {wanted} was read as {read}")
