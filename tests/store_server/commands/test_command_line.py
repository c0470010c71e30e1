"""The command line as a whole, through its two real entry points."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from store_server.commands import COMMANDS

SCRIPT = Path(sys.executable).with_name("engram-store")
ENTRY_POINTS = {"script": [str(SCRIPT)], "module": [sys.executable, "-m", "store_server"]}


def run_process(entry: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*ENTRY_POINTS[entry], *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("entry", ENTRY_POINTS)
def test_both_entry_points_run_the_same_commands(tmp_path: Path, entry: str) -> None:
    created = run_process(entry, "create", tmp_path / "root", "t", "--rows", 10, "--row-bytes", 8)
    again = run_process(entry, "create", tmp_path / "root", "t", "--rows", 10, "--row-bytes", 8)

    assert created.returncode == 0
    assert "rows     10" in created.stdout
    assert again.returncode == 1
    assert again.stdout == ""
    assert again.stderr == f"error: table 't' exists already in {tmp_path / 'root'}; `import` adds a version to it\n"


def test_help_names_every_command_and_says_uncut_what_it_is_for(run: Callable) -> None:
    shown = run("--help")

    assert shown.status == 0
    assert all(
        re.search(rf"^  {name} +{re.escape(command.summary)}$", shown.out, re.MULTILINE)
        for name, command in COMMANDS.items()
    )


def test_no_arguments_show_the_help(run: Callable) -> None:
    assert run().out == run("--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Callable, command: str) -> None:
    shown = run(command, "--help")

    assert shown.status == 0
    assert f"engram-store {command}" in shown.out
    assert run(command, "-h").out == shown.out


@pytest.mark.parametrize(("columns", "widest"), [(60, 60), (100, 100), (200, 100)])
def test_help_is_as_wide_as_the_terminal_up_to_what_reads_well(
    run: Callable, monkeypatch: pytest.MonkeyPatch, columns: int, widest: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    widths = [len(line) for line in run("verify", "--help").out.splitlines() if "engram-store" not in line]

    assert widest * 0.8 < max(widths) <= widest


@pytest.mark.parametrize(
    "words", [example.partition("  #")[0].split() for command in COMMANDS.values() for example in command.examples]
)
def test_every_example_of_the_help_is_a_command_line_that_is_understood(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").touch()  # no data root: what is understood fails with that, and writes nothing
    (tmp_path / "small").touch()
    (tmp_path / "full-size").touch()

    assert words[0] == "engram-store"
    assert run(*words[1:]).status == 1


def test_a_command_waits_for_the_import_of_no_other() -> None:
    program = "import sys; from store_server.commands import main; main(['serve', '-h']); print(*sys.modules)"

    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert "store_server.commands.serve" in modules
    assert "store_server.commands.attach" not in modules


def test_the_version_is_that_of_the_package(run: Callable) -> None:
    shown = run("--version")

    assert (shown.status, shown.out) == (0, f"engram-store {metadata.version('engram-store')}\n")
    assert run("-h").out == run("--help").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "nonsense"),
        (["create"], "ROOT"),
        (["create", "r", "t", "--rows", "ten", "--row-bytes", "8"], "--rows"),
        (["create", "r", "t", "--rows", "1", "--row-bytes", "8", "--backend", "paper"], "'paper' is not one of"),
        (["create", "r", "t", "--rows", "1", "--row-bytes", "8", "--seed", "-1"], "--seed"),
        (["tables", "r", "--nonsense"], "--nonsense"),
        (["verify", "r", "--version", "0"], "--version needs the NAME"),
    ],
)
def test_bad_usage_is_one_line_and_status_two(run: Callable, arguments: list[str], message: str) -> None:
    refused = run(*arguments)

    assert (refused.status, refused.out) == (2, "")
    assert refused.err.count("\n") == 1
    assert message in refused.error


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["create"], "error: Missing argument 'ROOT'; see engram-store create -h"),
        (["nonsense"], "error: No such command 'nonsense'; see engram-store -h"),
        (["tables", "r", "--nonsense"], "error: No such option: --nonsense; see engram-store tables -h"),
    ],
)
def test_who_misses_an_argument_or_a_command_is_told_which_help_names_it(
    run: Callable, arguments: list[str], error: str
) -> None:
    assert run(*arguments).error == error


def test_a_message_that_says_what_a_value_must_be_sends_nobody_to_the_help(run: Callable) -> None:
    assert " -h" not in run("create", "r", "t", "--rows", 0, "--row-bytes", 8).error


@pytest.mark.parametrize(
    "command",
    [["tables"], ["inspect", "t"], ["verify"], ["drop", "t", "0"], ["drop", "t", "--all"]],
    ids=lambda command: command[0],
)
def test_a_root_that_is_not_there_is_an_error_and_not_created(run: Callable, root: Path, command: list[str]) -> None:
    refused = run(command[0], root, *command[1:])

    assert refused.status == 1
    assert refused.error == f"error: no data root at {root}: no such directory; `create` or `import` makes a data root"
    assert not root.exists()


def test_a_reader_that_goes_away_is_no_accident(run: Callable, tmp_path: Path) -> None:
    run("create", tmp_path / "root", "t", "--rows", 1_000, "--row-bytes", 264)  # many times what a pipe holds
    command = f"'{SCRIPT}' inspect '{tmp_path / 'root'}' t --rows 0-999 | head -1"

    piped = subprocess.run(["/bin/sh", "-c", command], check=False, capture_output=True, text=True, timeout=60)

    assert (piped.stdout, piped.stderr) == ("row 0\n", "")
