"""A command that is told to end removes what it had begun."""

import signal
import subprocess
import sys

import pytest


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
        process.communicate(timeout=60)

    assert process.returncode == 128 + signal_number
    assert not root.exists()


@pytest.mark.parametrize("package", ["typer", "lmdb", "uvloop"])
def test_the_command_line_says_what_is_missing_where_only_the_client_is_installed(package, tmp_path):
    program = (
        f"import sys; sys.modules[{package!r}] = None\nfrom store_server.entry_point import main\nsys.exit(main())\n"
    )

    arguments = ("create", str(tmp_path / "root"), "name", "--rows", "1", "--row-bytes", "1", "--backend", "lmdb")

    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert "engram-store[server]" in ended.stderr
    assert "Traceback" not in ended.stderr
