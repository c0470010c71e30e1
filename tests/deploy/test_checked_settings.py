"""Asking a node what it has against a command line: what it says counts, and so does that it says nothing."""

import socket
import sys

import pytest
from check import settings

SOUND = ["serve", "/data", "--listen=127.0.0.1:50051"]


def that_does(program):
    return (sys.executable, "-c", program)


def test_a_command_line_that_a_node_takes_is_sound():
    assert list(settings.problems(SOUND)) == []


def test_what_a_node_has_against_a_command_line_is_told():
    (found,) = settings.problems([*SOUND, "--drain-seconds=0"])

    assert "--drain-seconds" in found


def test_an_option_that_does_not_exist_is_told():
    assert any("--drain" in each for each in settings.problems([*SOUND, "--drain=0"]))


@pytest.mark.parametrize("variables", [{}, {"ENGRAM_LISTEN": "HERE"}])
def test_ports_that_are_taken_here_say_nothing_about_where_a_node_will_run(variables):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ["serve", "/data"] if variables else ["serve", "/data", f"--listen={address}"]

        assert list(settings.problems(arguments, dict.fromkeys(variables, address))) == []


def test_settings_of_who_checks_are_not_those_of_the_node(monkeypatch):
    monkeypatch.setenv("ENGRAM_DRAIN_SECONDS", "0")

    assert list(settings.problems(SOUND)) == []


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("import os; os._exit(1)", "exit status 1"),
        ("import os; os._exit(0)", "exit status 0"),
        ("print('no such command')", "no such command"),
    ],
)
def test_a_node_that_comes_to_no_answer_is_a_problem(program, said):
    assert said in "\n".join(settings.problems(SOUND, node=that_does(program)))


def test_a_node_that_never_answers_is_a_problem():
    forever = that_does("import time; time.sleep(3600)")

    assert list(settings.problems(SOUND, node=forever, timeout_seconds=0.5)) == ["config check: no answer within 0.5 s"]
