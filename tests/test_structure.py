"""The boundaries between the packages, as README and design state them, and the freshness of generated code."""

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "engram_store": ROOT / "proto" / "engram_store",
    "engram_client": ROOT / "engram_client",
    "store_server": ROOT / "store_server",
    "engram_model": ROOT / "model" / "engram_model",
}
ALLOWED = {
    "engram_store": set(),
    "engram_client": {"engram_store"},
    "store_server": {"engram_store"},
    "engram_model": {"engram_client"},
}
FOR_ANYONE = {"engram_client.hashing", "engram_client.compression", "engram_client.formats"}
FILES_AT_THE_BORDER = {
    "engram_client": {"call_end.py", "grpc_channel.py", "grpc_connection.py", "grpc_errors.py", "lookup_stream.py"},
    "store_server": {
        "access/access.py",
        "access/certified_access.py",
        "access/identified_access.py",
        "cluster/blocks/block_server.py",
        "access/server_credentials.py",
        "access/server_port.py",
        "cluster/blocks/block_source_grpc.py",
        "cluster/agreement/etcd_access.py",
        "cluster/agreement/etcd_connection.py",
        "cluster/agreement/etcd_members.py",
        "cluster/node_answers.py",
        "cluster/node_channel.py",
        "failures.py",
        "node_port.py",
        "observing/call_counts.py",
        "observing/call_observer.py",
        "services/admin.py",
        "services/blocks.py",
        "services/call.py",
        "services/calls.py",
        "services/channelz.py",
        "services/cluster.py",
        "services/health.py",
        "services/health_port.py",
        "services/lookup.py",
        "services/node_services.py",
        "services/reflection.py",
        "services/reply_stream.py",
        "services/tables.py",
    },
}
PROTOS = ("admin_service", "block_service", "cluster_service", "lookup_service", "table_service", "error_reason")


@functools.cache
def modules() -> Sequence[tuple[str, Path, ast.Module]]:
    """Every module of ours that is written by hand: package, file and syntax tree."""
    return [
        (package, file.relative_to(folder), ast.parse(file.read_text()))
        for package, folder in PACKAGES.items()
        for file in sorted(folder.rglob("*.py"))
        if "_pb2" not in file.name
    ]


def imported(tree: ast.AST) -> set[str]:
    """The modules that a tree imports anywhere, type checking included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def at_import(tree: ast.Module) -> set[str]:
    """The modules that importing this one imports: not those inside functions, not those for type checkers only."""
    names = set()
    for statement in tree.body:
        is_for_checkers = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        if not is_for_checkers and not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            names |= imported(statement)
    return names


def packages_of(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def is_for_anyone(name: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in FOR_ANYONE)


def test_packages_import_each_other_in_one_direction_only():
    wrong = []
    for package, file, tree in modules():
        names = {name for name in imported(tree) if not is_for_anyone(name)}
        if package == "engram_client" and file.parts[0] == "embedded":
            names = {name for name in names if not name.startswith("store_server.storage") and name != "store_server"}
        if package == "store_server" and file.parts[0] == "commands":
            lazily = {name for name in names if packages_of({name}) & {"engram_client", "engram_model"}}
            names -= lazily - at_import(tree)
        foreign = packages_of(names) & PACKAGES.keys() - {package} - ALLOWED[package]
        wrong += [f"{package}/{file} imports {name}" for name in sorted(foreign)]

    assert wrong == []


def test_torch_is_imported_in_the_model_only():
    users = {f"{package}/{file}" for package, file, tree in modules() if "torch" in packages_of(at_import(tree))}

    assert users
    assert all(user.startswith("engram_model/") for user in users)


def test_grpc_is_imported_in_the_few_files_at_the_border():
    users: dict[str, set[str]] = {}
    for package, file, tree in modules():
        if packages_of(imported(tree)) & {"grpc", "grpc_channelz", "grpc_health", "grpc_reflection"}:
            users.setdefault(package, set()).add(str(file))

    assert users == FILES_AT_THE_BORDER


def users_of(*names: str) -> set[str]:
    """The files of ours in which an attribute of one of these names is used."""
    return {
        f"{package}/{file}"
        for package, file, tree in modules()
        if any(isinstance(node, ast.Attribute) and node.attr in names for node in ast.walk(tree))
    }


def test_channels_are_opened_in_one_place_of_each_side_and_one_for_etcd():
    assert users_of("insecure_channel", "secure_channel") == {
        "engram_client/grpc_channel.py",
        "store_server/cluster/agreement/etcd_members.py",
        "store_server/cluster/node_channel.py",
    }


def test_ports_are_opened_in_one_place():
    opened = users_of("add_insecure_port", "add_secure_port")

    # Probes speak no TLS, and learn nothing but whether a node is ready.
    assert opened == {"store_server/access/server_port.py", "store_server/services/health_port.py"}


@pytest.mark.parametrize("module", sorted(FOR_ANYONE | {"engram_client"}))
def test_what_anyone_may_import_brings_neither_grpc_nor_torch(module):
    program = f"import sys, {module}; sys.exit(' '.join({{'grpc', 'torch', 'store_server'}} & sys.modules.keys()) or 0)"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_server_starts_without_torch():
    program = "import sys, store_server.commands; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_the_model_without_torch_says_which_extra_brings_it():
    program = "import sys; sys.modules['torch'] = None\nimport engram_model"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.stderr.splitlines()[-1].startswith("ImportError: engram_model needs torch")
    assert "pip install 'engram-store[model]' (from a checkout: pip install '.[model]')" in ended.stderr


def test_second_implementations_share_nothing_with_the_packages():
    files = sorted((ROOT / "tests" / "reference").glob("*.py"))
    users = {file.name for file in files if packages_of(imported(ast.parse(file.read_text()))) & PACKAGES.keys()}

    assert files
    assert users == set()


def without_json_names(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """Drop what only some compilers write down: the default JSON name of each field."""
    messages = list(file.message_type)
    for message in messages:
        messages.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return file


@pytest.fixture(scope="module")
def compiled():
    """The .proto sources as buf compiles them now."""
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "build", str(ROOT / "proto"), "--as-file-descriptor-set", "--exclude-source-info", "-o", "-"]
    built = subprocess.run(command, capture_output=True, timeout=60, check=True)
    files = descriptor_pb2.FileDescriptorSet.FromString(built.stdout).file
    return {file.name: without_json_names(file) for file in files}


@pytest.mark.parametrize("name", PROTOS)
def test_generated_code_is_fresh(compiled, name):
    module = importlib.import_module(f"engram_store.v1.{name}_pb2")
    generated = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)

    assert without_json_names(generated) == compiled[f"engram_store/v1/{name}.proto"]


def test_every_proto_source_has_generated_code(compiled):
    assert {f"engram_store/v1/{name}.proto" for name in PROTOS} == compiled.keys()
