"""How a page is read, and what is shown held against what came."""

from pathlib import Path

import pytest
from docs.not_run import complaints_about, is_not_run
from docs.pages import sections_of, spans_of
from docs.shell import shell_in
from docs.shown import is_shown

PAGE = """
# Title

## One

Say `that`.

```console
$ first
it says
so
$ for n in 1 2; do
    second $n
  done
$ cat <<'END'
$ not a command
END
$ third \\
    --more
```

## Two

```toml
$ nothing
```
"""


def test_commands_go_on_where_the_shell_would_wait_for_more():
    (section,) = sections_of(PAGE)

    assert section.title == "One"
    assert [(step.command, step.shown) for step in section.steps] == [
        ("first", ("it says", "so")),
        ("for n in 1 2; do\n    second $n\n  done", ()),
        ("cat <<'END'\n$ not a command\nEND", ()),
        ("third \\\n    --more", ()),
    ]


def test_spans_are_taken_outside_of_blocks():
    assert list(spans_of(PAGE)) == [(6, "that")]


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        (["a b"], "a   b \n", True),
        (["a"], "a\nb\n", False),
        (["a", "b"], "a\n", False),
        (["a", "..."], "a\nb\nc\n", True),
        (["...", "c"], "a\nb\n", False),
        (["...", "c", "..."], "c\n", True),
        (["took ... ms"], "took 3.1 ms\n", True),
        (["took ... ms"], "took 3.1\nms\n", False),
        (["..."], "", True),
        (["a"], "reading ━━━ 3 MB\na\n", True),
    ],
)
def test_what_varies_is_left_out_and_nothing_else(shown, printed, fits):
    assert is_shown(shown, printed) is fits


def test_commands_of_a_shell_share_what_was_set_and_leave_nothing_running(tmp_path):
    with shell_in(tmp_path, tmp_path / "output") as shell:
        shell.run("number=3; cd /; sleep 1000 & echo $! > $HOME/pid")

        assert shell.run("echo $number; pwd; echo 127.0.0.1 >&2") == (0, "3\n/\n127.0.0.1\n")
        assert shell.run("(exit 7)") == (7, "")
        pid = int((tmp_path / "pid").read_text())

    assert not Path(f"/proc/{pid}").exists()


def test_each_shell_has_ports_of_its_own(tmp_path):
    listens = "python3 -c 'import socket; it = socket.create_server((\"127.0.0.1\", 50051)); it.accept()' &"
    connects = "until true < /dev/tcp/127.0.0.1/50051; do sleep 0.05; done 2> /dev/null; wait $!"

    with shell_in(tmp_path, tmp_path / "one") as one, shell_in(tmp_path, tmp_path / "two") as two:
        assert [shell.run(listens).status for shell in (one, two)] == [0, 0]
        assert [shell.run(connects).status for shell in (one, two)] == [0, 0]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("docker build --file ../deploy/Dokerfile ..", "there is no ../deploy/Dokerfile, as seen from the folder try"),
        ("journalctl --unit engram-stor", "there is no unit engram-stor"),
        ("helm install memory ../deploy/chart --set tsl.secret=x", "the chart has no value tsl.secret"),
    ],
)
def test_what_cannot_be_run_is_held_against_the_files_that_it_names(command, said):
    assert is_not_run(command)
    assert list(complaints_about(command)) == [said]
