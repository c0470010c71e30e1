"""The command line `engram-store`: one file a command, put together here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import typer

from store_server.commands import (
    attach,
    compression,
    create,
    demo,
    drop,
    import_,
    inspect,
    load,
    serve,
    synth_checkpoint,
    tables,
    verify,
)
from store_server.commands.failure import CommandFailed
from store_server.commands.stop_signals import stop_signals_raise
from store_server.storage import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "create": create.create,
    "import": import_.import_table,
    "attach": attach.attach,
    "serve": serve.serve,
    "tables": tables.tables,
    "inspect": inspect.inspect,
    "verify": verify.verify_tables,
    "drop": drop.drop,
    "synth-checkpoint": synth_checkpoint.synth_checkpoint,
    "compression": compression.compression,
    "load": load.load,
    "demo": demo.demo,
}
# What typer raises for bad usage: of its own since 0.2x, click's before.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_FAILED, _BAD_USAGE, _INTERRUPTED = 1, 2, 130


def build_app() -> typer.Typer:
    """Return the application with all commands."""
    app = typer.Typer(
        name="engram-store",
        help="A memory store for Engram tables.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name, command in COMMANDS.items():
        app.command(name)(command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 when it failed, 2 for bad usage.

    Results go to stdout; a failure is one line `error: ...` on stderr.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stop_signals_raise():
            status = build_app()(given or ["--help"], prog_name="engram-store", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        return _report(error, _BAD_USAGE)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (StorageError, CommandFailed, OSError) as error:
        return _report(error, _FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _report("interrupted", _INTERRUPTED)
    return status if isinstance(status, int) else 0


def _report(error: Exception | str, status: int) -> int:
    message = str(getattr(error, "format_message", error.__str__)())
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return status
