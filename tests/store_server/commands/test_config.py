"""The settings of a node: where they may be given, which of these places counts, and what is said of wrong ones."""

from __future__ import annotations

import json
import os
import re
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import node_process
from support.rows import random_rows
from support.shard_maps import shard_map_of
from support.tables import write_table

from engram_store.shard_map import write_shard_map
from store_server.workers.settings import WorkerSettings

LISTEN = "127.0.0.1:0"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ENGRAM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("config") / "root"
    write_table(root, "layer-1", random_rows(100, 8))
    return root


def shown(out: str) -> dict[str, tuple[str, str]]:
    """Value and origin of each setting of the table that `config show` prints."""
    head, *lines = out.splitlines()
    at_value, at_origin = head.index("value"), head.index("from")
    return {line[:at_value].strip(): (line[at_value:at_origin].strip(), line[at_origin:].strip()) for line in lines}


def test_a_flag_counts_more_than_the_environment_that_more_than_the_file_and_this_more_than_the_default(
    run: Callable, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("drain-seconds = 1\nreplicas = 3\nworkers = 2\n")
    monkeypatch.setenv("ENGRAM_DRAIN_SECONDS", "4")
    monkeypatch.setenv("ENGRAM_REPLICAS", "5")

    settings = shown(run("config", "show", "--config", file, "--drain-seconds", 6).out)

    assert settings["drain-seconds"] == ("6.0", "flag")
    assert settings["replicas"] == ("5", "ENGRAM_REPLICAS")
    assert settings["workers"] == ("2", str(file))
    assert settings["lease-seconds"] == ("10", "default")


def test_every_option_of_a_node_is_a_variable_and_a_key(run: Callable) -> None:
    options = re.findall(r"^  (--[a-z-]+)", run("serve", "-h").out, re.MULTILINE)
    keys = shown(run("config", "show").out)

    assert {f"--{key}" for key in keys} - {"--root"} == set(options) - {"--config"}


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("ENGRAM_ROOT", "/data", "root", "/data"),
        ("ENGRAM_LISTEN", "unix:///run/node.sock", "listen", "unix:///run/node.sock"),
        ("ENGRAM_HUGE_PAGES", "true", "huge-pages", "true"),
        ("ENGRAM_HUGE_PAGES", "0", "huge-pages", "false"),
        ("ENGRAM_MEMORY_BUDGET", "2KiB", "memory-budget", "2KiB"),
        ("ENGRAM_IN_MEMORY", " a/layer-1  a/layer-2 ", "in-memory", "a/layer-1 a/layer-2"),
        ("ENGRAM_LABEL", "zone=a rack=b", "label", "zone=a rack=b"),
        ("ENGRAM_SERVE_INSECURE", "1", "insecure", "true"),
        ("ENGRAM_ETCD_PASSWORD_FILE", "/run/secrets/etcd", "etcd-password-file", "/run/secrets/etcd"),
    ],
)
def test_a_variable_is_read_as_the_command_line_is(
    run: Callable, monkeypatch: pytest.MonkeyPatch, variable: str, text: str, key: str, value: str
) -> None:
    monkeypatch.setenv(variable, text)

    assert shown(run("config", "show").out)[key] == (value, variable)


def test_what_lets_clients_speak_in_plain_text_does_not_let_a_node(
    run: Callable, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_INSECURE", "1")

    assert shown(run("config", "show").out)["insecure"] == ("false", "default")
    for command in (("config", "check"), ("serve",)):
        refused = run(*command, served, "--listen", "0.0.0.0:0")
        assert refused.status == 1
        assert "or allow it with --insecure" in refused.out + refused.err
    monkeypatch.setenv("ENGRAM_SERVE_INSECURE", "1")
    assert run("config", "check", served, "--listen", "0.0.0.0:0").status == 0


def test_a_variable_that_is_empty_sets_nothing(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_WORKERS", "")

    settings = run("config", "show")

    assert settings.status == 0
    assert shown(settings.out)["workers"] == ("1", "default")


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ('root = "/data"', "root", "/data"),
        ("memory_budget = 2048", "memory-budget", "2KiB"),
        ('memory-budget = "64GiB"', "memory-budget", "64GiB"),
        ('in-memory = ["a", "b"]', "in-memory", "a b"),
        ("huge_pages = true", "huge-pages", "true"),
        ("lost-after = inf", "lost-after", "inf"),
        ("log_format = 'json'", "log-format", "json"),
    ],
)
def test_a_key_of_the_file_is_an_option_with_dashes_or_underscores(
    run: Callable, file: Path, line: str, key: str, value: str
) -> None:
    file.write_text(line)

    assert shown(run("config", "show", "--config", file).out)[key] == (value, str(file))


def test_of_a_setting_with_several_values_the_highest_place_has_all(
    run: Callable, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('in-memory = ["a", "b"]')
    monkeypatch.setenv("ENGRAM_IN_MEMORY", "c")

    assert shown(run("config", "show", "--config", file).out)["in-memory"] == ("c", "ENGRAM_IN_MEMORY")
    given = run("config", "show", "--config", file, "--in-memory", "d", "--in-memory", "e")
    assert shown(given.out)["in-memory"] == ("d e", "flag")


def test_a_flag_takes_back_what_the_file_switches_on(run: Callable, file: Path) -> None:
    file.write_text("huge-pages = true")

    assert shown(run("config", "show", "--config", file, "--no-huge-pages").out)["huge-pages"] == ("false", "flag")


def test_the_file_itself_may_be_named_by_the_environment(
    run: Callable, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("workers = 2")
    monkeypatch.setenv("ENGRAM_CONFIG", str(file))

    assert shown(run("config", "show").out)["workers"] == ("2", str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worker = 2", "there is no setting 'worker'; did you mean workers?"),
        ("zzz = 2", "there is no setting 'zzz'"),
        ("config = 'other.toml'", "there is no setting 'config'"),
        ("workers = 0", "workers = 0: Input should be greater than or equal to 1"),
        ("workers = 'many'", 'workers = "many": Input should be a valid integer'),
        ("workers = 1.5", "workers = 1.5: Input should be a valid integer"),
        ("workers = true", "workers = true: must be a text in quotes or a number"),
        ("[workers]", "workers = {}: must be a text in quotes or a number"),
        ("huge_pages = 'yes'", 'huge_pages = "yes": must be true or false'),
        ("in-memory = 'a'", """in-memory = "a": must be a list, such as ["one", "two"]"""),
        ("in-memory = ['a', {}]", """in-memory = ["a", {}]: must be a list, such as ["one", "two"]"""),
        ("memory-budget = '2 loaves'", 'memory-budget = "2 loaves": a size is a number of bytes such as'),
        ("drain-seconds = 1\ndrain_seconds = 1", "drain-seconds is set twice"),
        ("workers = 2\nlisten =\n", "Invalid value (at line 2, column 9)"),
        (f"workers = {'9' * 5_000}", "Exceeds the limit"),
        (f"workers = 0x{'f' * 5_000}", "workers = a value too large to be shown: must be a text in quotes or a number"),
        (f"workers.{'.'.join('a' * 2_000)} = 1", "workers = a value too large to be shown: must be a text in quotes"),
        ("workers = " + "[" * 5_000, "lists or tables that lie too deep in each other"),
        ("workers = 2\rlisten = 'a'", "Expected newline or end of document"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file_the_key_and_the_value(
    run: Callable, file: Path, served: Path, text: str, message: str
) -> None:
    file.write_text(text)

    for command in (["serve"], ["config", "show"], ["config", "check"]):
        refused = run(*command, "--config", file, served, "--listen", LISTEN)

        assert refused.status == 1
        assert f"{file}: {message}" in refused.err + refused.out


def test_the_value_of_a_key_that_nobody_knows_is_not_repeated(run: Callable, file: Path, served: Path) -> None:
    file.write_text("password = 'hunter2'")

    refused = run("serve", "--config", file, served)

    assert "'password'" in refused.error
    assert "hunter2" not in refused.err


def test_a_file_that_is_no_text_or_not_there_is_one_line(run: Callable, file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"workers = 2\nlisten = '\xff'")

    assert run("serve", "--config", file).err == f"error: {file}: not UTF-8 (at line 2)\n"
    missing = tmp_path / "missing.toml"
    assert run("serve", "--config", missing).err == f"error: {missing}: No such file or directory\n"


def test_a_wrong_variable_is_named_with_its_value(run: Callable, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_WORKERS", "many")

    assert run("serve", served).error.startswith("error: ENGRAM_WORKERS='many': Input should be a valid integer")


def test_a_variable_of_nobody_is_warned_of_without_its_value_and_those_of_clients_are_not(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_LISTN", "secret")
    monkeypatch.setenv("ENGRAM_URL", "grpc://node:50051")
    monkeypatch.setenv("ENGRAM_TOKEN_FILE", "/run/secrets/token")

    assert run("config", "show").err == ("warning: ENGRAM_LISTN is no setting of a node; did you mean ENGRAM_LISTEN?\n")


def test_who_names_no_data_root_anywhere_is_told_where(run: Callable) -> None:
    assert run("serve").error == (
        "error: which data root? Give ROOT, ENGRAM_ROOT or `root` in the file that --config names"
    )


def test_what_is_shown_as_toml_is_a_file_with_the_same_settings(
    run: Callable, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_HUGE_PAGES", "1")
    given = [
        '/dä"ta\\\x7f',
        "--memory-budget",
        "64GiB",
        "--label",
        "zone=a",
        "--label",
        "rack=b",
        "--lost-after",
        "inf",
    ]

    toml = run("config", "show", *given, "--toml").out
    file.write_text(toml)

    before, after = shown(run("config", "show", *given).out), shown(run("config", "show", "--config", file).out)
    assert {key: value for key, (value, _) in before.items()} == {key: value for key, (value, _) in after.items()}
    assert tomllib.loads(toml).keys() == {"root", "memory-budget", "label", "lost-after", "huge-pages"}
    assert "\n# workers = 1\n" in toml


def test_settings_that_are_sound_are_said_to_be(run: Callable, served: Path) -> None:
    checked = run("config", "check", served, "--listen", LISTEN, "--in-memory", "layer-1")

    assert (checked.status, checked.out, checked.err) == (0, "settings are sound\n", "")


def test_a_check_finds_all_problems_and_not_the_first_alone(
    run: Callable, file: Path, served: Path, tmp_path: Path
) -> None:
    file.write_text(
        "worker = 2\nmemory-budget = 1\nin-memory = ['layer-7']\npin-cores = 'all'\n"
        "drain-seconds = 0\nstall-seconds = -1\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        checked = run("config", "check", served, "--config", file, "--listen", listen, "--etcd-ca", tmp_path / "ca.pem")

    lines = checked.out.splitlines()
    assert (checked.status, checked.error) == (1, f"error: {len(lines)} problems found")
    assert [line for line in lines if "layer-7" in line] == [
        f"--in-memory layer-7: no table 'layer-7' in {served}; `engram-store tables` lists what is"
    ]
    for problem in (
        "there is no setting 'worker'",
        "without --cluster, --etcd-ca would mean nothing",
        f"--etcd-ca {tmp_path}/ca.pem: No such file or directory",
        "--memory-budget must be at least 16,777,216 bytes, got 1",
        "--drain-seconds must be above 0 and at most 3600, got 0",
        "--stall-seconds must be above 0 and at most 3600, got -1",
        "give numbers and ranges such as 0,2,4-7, got 'all'",
        f"cannot listen on {listen}: Address already in use",
    ):
        assert any(problem in line for line in lines), problem


def test_a_check_finds_that_the_data_root_is_of_another_cluster(run: Callable, tmp_path: Path) -> None:
    write_table(tmp_path / "root", "layer-1", random_rows(100, 8))
    (tmp_path / "root" / "cluster").mkdir()
    (tmp_path / "root" / "cluster" / "map.json").write_text(write_shard_map(shard_map_of(cluster="prod")))
    own = ("--listen", LISTEN, "--node-id", "a", "--insecure")

    right, wrong = (
        run("config", "check", tmp_path / "root", *own, "--cluster", f"etcd://127.0.0.1:1/{name}").out
        for name in ("prod", "prd")
    )
    assert right == "settings are sound\n"
    (problem,) = wrong.splitlines()
    assert "is that of a node of cluster 'prod', --cluster names 'prd': correct the name" in problem


def test_a_check_looks_at_the_address_of_every_worker(run: Callable, served: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        checked = run("config", "check", served, "--listen", f"127.0.0.1:{port - 1}", "--workers", 2)

    assert checked.status == 1
    assert f"cannot listen on 127.0.0.1:{port}" in checked.out


def test_a_check_looks_at_the_other_addresses_of_a_node_and_at_those_it_would_have_twice(
    run: Callable, served: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        of_another = run("config", "check", served, "--listen", LISTEN, "--metrics-listen", listen)
    twice = run("config", "check", served, "--listen", listen, "--metrics-listen", listen)

    assert of_another.out.startswith(f"--metrics-listen: cannot listen on {listen}: Address already in use: end the")
    assert twice.out == f"--metrics-listen: --listen has {listen}, too\n"


def test_a_check_of_a_root_that_is_not_there_says_so_but_for_a_node_that_would_make_it(
    run: Callable, tmp_path: Path
) -> None:
    root = tmp_path / "new"
    of_cluster = ["--cluster", f"file://{tmp_path}/map", "--node-id", "a"]

    assert run("config", "check", root, "--listen", LISTEN).out == (
        f"no data root at {root}: no such directory; `create` or `import` makes a data root\n"
    )
    assert run("config", "check", root, "--listen", LISTEN, *of_cluster).status == 0
    assert not root.exists()
    root.mkdir()  # as a volume is there, or a folder that systemd made
    assert run("config", "check", root, "--listen", LISTEN, *of_cluster).status == 0
    assert run("config", "check", root, "--listen", LISTEN).status == 1


def test_workers_have_the_settings_of_all_places(served: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f'root = "{served}"\nworkers = 2\nin-memory = ["layer-1"]\ndrain-seconds = 99')
    monkeypatch.setenv("ENGRAM_CONFIG", str(file))
    monkeypatch.setenv("ENGRAM_MEMORY_BUDGET", "64MiB")
    monkeypatch.setenv("ENGRAM_NODEID", "a")

    with node_process(served, "--drain-seconds", "7") as node:
        workers = [settings_of(pid) for pid in children_of(node.process.pid)]

    assert [settings.number for settings in workers] == [0, 1]
    for settings in workers:
        config = settings.config
        assert (config.root, config.in_memory) == (served, {"layer-1"})
        assert (config.drain_seconds, config.memory_budget_bytes) == (7.0, 32 << 20)
    assert "ENGRAM_NODEID is no setting of a node; did you mean ENGRAM_NODE_ID?" in node.log


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def settings_of(pid: int) -> WorkerSettings:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    settings = next(argument for argument in arguments if argument.startswith(b"{"))
    assert json.loads(settings)
    return WorkerSettings.from_argument(settings.decode())
