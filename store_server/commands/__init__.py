"""The command line `engram-store`: one file a command, put together here."""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from store_server.access.redaction import masked
from store_server.commands.failure import CommandFailed
from store_server.commands.interruption import NothingMeasured, NothingStored
from store_server.commands.stop_signals import stop_signals_raise
from store_server.storage import StorageError, VersionNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType


class Command(NamedTuple):
    """What a command does in a few words, and the module in this package that has it, imported when it is needed.

    Its function has the name of the module unless said otherwise.
    """

    summary: str
    module: str
    function: str = ""

    @property
    def run(self) -> Callable[..., None]:
        """The function, whose parameters are those of the command."""
        run: Callable[..., None] = getattr(self._imported(), self.function or self.module)
        return run

    @property
    def examples(self) -> tuple[str, ...]:
        """Command lines for its own help."""
        examples: tuple[str, ...] = getattr(self._imported(), "EXAMPLES", ())
        return examples

    def _imported(self) -> ModuleType:
        return importlib.import_module(f"{__name__}.{self.module}")


class CommandGroup(NamedTuple):
    """Commands whose first word is the same, by their second; `takes` is what stands between the two, if anything."""

    summary: str
    commands: Mapping[str, Command]
    takes: Command | None = None

    @property
    def examples(self) -> tuple[str, ...]:
        """Command lines of all of them."""
        return tuple(example for command in self.commands.values() for example in command.examples)


COMMANDS: Final[dict[str, Command | CommandGroup]] = {
    "create": Command("make a table of test rows", "create"),
    "import": Command("make a table, or its next version, from a file", "import_", "import_table"),
    "attach": Command("serve a checkpoint's tables from its own files", "attach"),
    "serve": Command("run a node", "serve"),
    "config": CommandGroup(
        "show and check the settings of a node",
        {
            "show": Command("say what each setting is, and where that comes from", "config_show"),
            "check": Command("say all that keeps a node from starting", "config_check"),
        },
    ),
    "token": CommandGroup(
        "say who may do what on a node",
        {
            "new": Command("let somebody in, print their token", "token_new"),
            "list": Command("show who is let in", "token_list"),
            "revoke": Command("let somebody in no longer", "token_revoke"),
        },
    ),
    "admin": CommandGroup(
        "see how a running node is, and change it",
        {
            "status": Command("say how each of its processes is", "admin.status", "status"),
            "drain": Command("have its clients go to other nodes", "admin.drain", "drain"),
            "attach": Command("have it serve a checkpoint on its disk", "admin.attach", "attach"),
            "drop": Command("have it remove a version or a table", "admin.drop", "drop"),
        },
        Command("which node", "admin"),
    ),
    "publish": Command("make new versions current on a cluster", "publish"),
    "rollback": Command("make a set's previous versions current", "rollback"),
    "forget": Command("give up a set's previous versions", "forget"),
    "unpublish": Command("remove tables from a cluster", "unpublish"),
    "cluster": Command("show a cluster's nodes, sets and shards", "cluster"),
    "leave": Command("take a node out of a cluster for good", "leave"),
    "tables": Command("list tables and their state", "tables"),
    "inspect": Command("describe a table, print rows", "inspect"),
    "verify": Command("read everything, compare digests", "verify", "verify_tables"),
    "backup": Command("copy a data root while it is served", "backup"),
    "drop": Command("remove an old version or a whole table", "drop"),
    "diff": Command("say which rows two versions differ in", "diff"),
    "patch": Command("make the next version, with some rows replaced", "patch"),
    "synth-checkpoint": Command("write a made-up checkpoint", "synth_checkpoint"),
    "compression": Command("compress a tokenizer's vocabulary", "compression"),
    "load": Command("put a store under load, check every row", "load"),
    "top": Command("show nodes, tables, rates and latencies as they are now", "top"),
    "doctor": Command("say what is wrong with a store or a host", "doctor"),
    "plan": Command("how many nodes a model needs, or what they sustain", "plan"),
    "demo": Command("the whole path on real text", "demo"),
}
# What typer raises for bad usage: of its own since 0.2x, click's before.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_MAX_HELP_WIDTH = 100
_FAILED, _BAD_USAGE, _INTERRUPTED = 1, 2, 130


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the application with these commands: to import all of them takes longer than many take to run."""
    app = typer.Typer(
        name="engram-store",
        help="A memory store for Engram tables.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _MAX_HELP_WIDTH},
    )
    app.callback()(_program)
    for name in names:
        match COMMANDS[name]:
            case CommandGroup() as group:
                app.add_typer(_group_app(group), name=name, help=group.summary, epilog=_epilog(group.examples))
            case Command() as command:
                _add(app, name, command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 when it failed, 2 for bad usage.

    Results go to stdout; a failure is one line `error: ...` on stderr. Ctrl-C is one line `interrupted`, and 130.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stop_signals_raise():
            app = build_app(given[:1] if COMMANDS.keys() & given[:1] else COMMANDS)
            status = app(given or ["--help"], prog_name="engram-store", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        return _report(error, _BAD_USAGE, _help_for(error))
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except VersionNotFound as error:
        return _report(error, _FAILED, "; `engram-store inspect` lists its versions")
    except (StorageError, CommandFailed, OSError) as error:
        return _report(error, _FAILED)
    except NothingStored:
        return _report_interruption("interrupted: nothing was stored")
    except NothingMeasured:
        return _report_interruption("interrupted in the warm-up, nothing measured")
    except (KeyboardInterrupt, typer.Abort):
        return _report_interruption("interrupted")
    if status == _INTERRUPTED:  # what typer makes of KeyboardInterrupt
        return _report_interruption("interrupted")
    return status if isinstance(status, int) else 0


def _group_app(group: CommandGroup) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)
    if group.takes is not None:
        app.callback()(group.takes.run)
    for name, command in group.commands.items():
        _add(app, name, command)
    return app


def _add(app: typer.Typer, name: str, command: Command) -> None:
    app.command(name, short_help=command.summary, epilog=_epilog(command.examples))(command.run)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"engram-store {metadata.version('engram-store')}")
        raise typer.Exit


def _program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the program's version and exit."),
    ] = False,
) -> None:
    """Hold the options of the program itself."""


def _epilog(examples: Sequence[str]) -> str | None:
    """Return the examples as a block that is not wrapped into lines (that is what the escape asks for)."""
    return "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)]) if examples else None


def _report_interruption(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return _INTERRUPTED


def _help_for(error: Exception) -> str:
    """Return where to read on; "" where the message says what a value must be, or which name was meant."""
    context = getattr(error, "ctx", None)
    if context is None or type(error) is typer.BadParameter or str(error).endswith("?"):
        return ""
    return f"; see {context.command_path} -h"


def _report(error: Exception, status: int, hint: str = "") -> int:
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{error.filename}: {error.strerror}"
    else:
        message = str(getattr(error, "format_message", error.__str__)())
    line = masked(" ".join(message.split()))  # usage errors quote what was given
    sys.stderr.write(f"error: {line.removesuffix('.') + hint if hint else line}\n")
    return status
