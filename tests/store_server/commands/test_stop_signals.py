"""A command that is told to end removes what it had begun."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import store_server.commands


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_import_that_is_told_to_end_leaves_nothing_behind(signal_number, tmp_path):
    root = tmp_path / "root"
    program = (
        "import sys\n"
        "from store_server.commands import main\n"
        "def wait_when_rows_are_written(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('rows.bin'):\n"
        "        print('under way', flush=True)\n"
        "        sys.stdin.readline()\n"
        "sys.addaudithook(wait_when_rows_are_written)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ("create", str(root), "big", "--rows", "100000", "--row-bytes", "264")
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"under way\n"
        assert list((root / "staging").iterdir())

        process.send_signal(signal_number)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 128 + signal_number
    assert not root.exists()
    assert said == (b"interrupted: nothing was stored\n" if signal_number == signal.SIGINT else b"")


def test_a_command_that_stores_nothing_only_says_that_it_was_interrupted(tmp_path):
    program = (
        "import signal, sys\n"
        "from store_server.commands import main\n"
        "def interrupt(event, arguments):\n"
        "    if event in ('os.listdir', 'os.scandir') and str(arguments[0]).endswith('tables'):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.addaudithook(interrupt)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (tmp_path / "tables").mkdir()
    command = [sys.executable, "-c", program, "tables", str(tmp_path)]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(signal_number):
    program = (
        "import signal, sys, time, weakref\n"
        "from store_server.commands.stop_signals import stop_signals_raise\n"
        "class Module: pass\n"
        "module = Module()\n"
        "def called_back(_):\n"
        "    signal.raise_signal(int(sys.argv[1]))\n"
        "    return [None for _ in range(1000)]\n"
        "called = weakref.ref(module, called_back)\n"
        "with stop_signals_raise():\n"
        "    del module\n"
        "    time.sleep(60)\n"
        "    sys.exit('lost')\n"
    )
    command = [sys.executable, "-c", program, str(int(signal_number))]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)

    assert "lost" not in ended.stderr
    assert ended.returncode == (-signal.SIGINT if signal_number == signal.SIGINT else 128 + signal_number)


@pytest.mark.parametrize("command", ["create", "import"])
def test_interrupted_while_it_is_published_a_version_is_not_said_to_be_missing(command, tmp_path):
    program = (
        "import signal, sys\n"
        "from store_server.commands import main\n"
        "def interrupt(event, arguments):\n"
        "    if event == 'open' and 'table.json' in str(arguments[0]):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.addaudithook(interrupt)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (tmp_path / "source").write_bytes(bytes(8))
    arguments = {"create": ["t", "--rows", "1"], "import": ["t", str(tmp_path / "source")]}[command]
    whole = [sys.executable, "-c", program, command, str(tmp_path / "root"), *arguments, "--row-bytes", "8"]

    ended = subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr.splitlines()[-1]) == (130, "", "interrupted")


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("typer", ["create", "ROOT", "name", "--rows", "1", "--row-bytes", "1"]),
        ("lmdb", ["create", "ROOT", "name", "--rows", "1", "--row-bytes", "1", "--backend", "lmdb"]),
        ("uvloop", ["serve", "ROOT", "--listen", "127.0.0.1:0"]),
    ],
)
def test_the_command_line_says_what_is_missing_where_only_the_client_is_installed(package, arguments, tmp_path):
    program = (
        f"import sys; sys.modules[{package!r}] = None\nfrom store_server.entry_point import main\nsys.exit(main())\n"
    )
    given = [str(tmp_path / "root") if argument == "ROOT" else argument for argument in arguments]

    ended = subprocess.run(
        [sys.executable, "-c", program, *given], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert "pip install 'engram-store[server]'" in ended.stderr
    assert "(from a checkout: pip install '.[server]')" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_command_but_a_node_runs_an_event_loop_that_a_signal_breaks_into():
    commands = Path(store_server.commands.__file__).parent

    users = {file.stem for file in commands.glob("*.py") if "asyncio.run(" in file.read_text()}

    assert users == {"serve", "stop_signals"}
