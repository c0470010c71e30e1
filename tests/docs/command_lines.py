"""Lines of a shell in which engram-store is called, held against the options that it has, without running them."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

_PROGRAM = re.compile(r"(.*/)?engram-store")
_BEFORE = re.compile(r"\w+=.*|sudo|exec|do|then|until|while|if|!")  # what may stand before a command
_OPERATORS = frozenset("();<>|&")
_HERE_DOCUMENT = re.compile(r"<<-?\s*'?(\w+)'?.*?\n(?:.|\n)*?^\1$", re.MULTILINE)
_UNKNOWN = re.compile(r"\$|\.\.\.|^[A-Z_]+$")  # a variable, something left out, a placeholder: any value


def calls_in(command: str) -> Iterator[list[str]]:
    """Give the arguments of each call of engram-store in a command of a shell."""
    for name, *arguments in _simple_commands(command):
        if _PROGRAM.fullmatch(name):
            yield arguments


def complaint_about(arguments: Sequence[str]) -> str | None:
    """Say what the command line of engram-store would have against these arguments; None if nothing."""
    try:
        _parse(_program(), None, "engram-store", list(arguments))
    except Exception as error:  # typer's are of its own
        if hasattr(error, "format_message"):
            return error.format_message()
        raise
    return None


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Give the words of each command between operators; what $(...) runs is one, too."""
    words: list[str] = []
    for word in [*_words(command), ";"]:
        if not set(word) <= _OPERATORS:
            words.append(word)
            continue
        if word.startswith((">", "<")) and words and words[-1].isdigit():
            words.pop()  # the number of a descriptor
        while words and _BEFORE.fullmatch(words[0]):
            words.pop(0)
        if words:
            yield words
        words = []


def _words(command: str) -> Iterator[str]:
    text = _HERE_DOCUMENT.sub("", command)
    for there, instead in (("\\\n", " "), ("$(", " ; "), ("\n", " ; ")):
        text = text.replace(there, instead)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return iter(lexer)


@functools.cache
def _program() -> Any:
    from typer.main import get_command

    from store_server.commands import build_app

    return get_command(build_app())


def _parse(command: Any, parent: Any, name: str, arguments: list[str]) -> None:
    """Raise what the program would; it is not run."""
    context = command.context_class(command, info_name=name, parent=parent, **command.context_settings)
    given, rest, _ = command.make_parser(context).parse_args(arguments)
    if given.get("help"):
        return
    if hasattr(command, "resolve_command"):
        _parse_next(command, context, given, rest)
        return
    if rest:
        context.fail(f"Got unexpected extra arguments ({' '.join(rest)})")
    for parameter in command.params:
        _check(parameter, context, given.get(parameter.name))


def _parse_next(group: Any, context: Any, given: Any, rest: list[str]) -> None:
    if rest:
        name, command, arguments = group.resolve_command(context, rest)
        _parse(command, context, name, arguments)
    elif not given:
        context.fail("Missing command.")


def _check(parameter: Any, context: Any, value: Any) -> None:
    """Raise what the program would if a parameter is missing or cannot be; whether files are there is not asked."""
    if parameter.value_is_missing(value):
        if parameter.required:
            context.fail(f"Missing {parameter.param_type_name} {parameter.get_error_hint()}.")
        return
    values = value if isinstance(value, list | tuple) else [value]
    if "Path" not in parameter.bare_type() and not any(_UNKNOWN.search(str(each)) for each in values):
        parameter.process_value(context, value)
