"""The checks of a URL in their order: each step is taken only if the one before it left a way."""

from __future__ import annotations

import time
from importlib import metadata
from typing import TYPE_CHECKING

from store_server.commands.doctor import calls
from store_server.commands.doctor.cluster import check_cluster
from store_server.commands.doctor.finding import Verdict, ok, unknown
from store_server.commands.doctor.link import Place, Way, try_way
from store_server.commands.doctor.rows import check_rows
from store_server.commands.doctor.status import ask_status, judge_status
from store_server.commands.doctor.tls import judge_no_tls, judge_tls
from store_server.commands.doctor.tls_facts import TlsFiles, shake_hands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from engram_client.keyring import Keyring
    from engram_client.store import Store
    from store_server.commands.doctor.finding import Finding


async def visit(
    addresses: Sequence[str], store: Store, keyring: Keyring, root: str | None, seconds: float
) -> AsyncIterator[Finding]:
    """Yield what is found at the addresses of a URL, then in the tables of the store there.

    Each step has `seconds`; `root` is as for check_rows.
    """
    yield _own_versions()
    any_answers = False
    for address in addresses:
        async for finding in _check_node(address, keyring, seconds):
            any_answers = any_answers or finding.check == "access"
            yield finding
    if not any_answers:
        yield unknown("rows", "all tables", "not looked at: no node of the URL answers")
        return
    async for finding in check_rows(store, root, seconds):
        yield finding


async def _check_node(address: str, keyring: Keyring, seconds: float) -> AsyncIterator[Finding]:
    way = await try_way(Place.of(address), seconds)
    for finding in way.findings:
        yield finding
    if not way.is_open:
        return
    if keyring.security.tls:
        shaken = await _shaken(way, keyring, seconds)
        for finding in shaken:
            yield finding
        if any(finding.verdict is Verdict.fail for finding in shaken):
            return
    async for finding in _check_calls(address, keyring, seconds):
        yield finding


async def _shaken(way: Way, keyring: Keyring, seconds: float) -> list[Finding]:
    address, security = way.place.address, keyring.security
    files = TlsFiles(ca=security.ca_file, cert=security.cert_file, key=security.key_file)
    try:
        facts = await shake_hands(way, files, seconds)
    except (OSError, TimeoutError) as error:
        return [judge_no_tls(address, error, seconds)]
    return list(judge_tls(address, facts, files, time.time()))


async def _check_calls(address: str, keyring: Keyring, seconds: float) -> AsyncIterator[Finding]:
    from engram_client.grpc_transport import GrpcTransport

    transport = GrpcTransport(address, retries=False, keyring=keyring)
    try:
        answered, findings = await calls.ask(address, transport, seconds)
        for finding in findings:
            yield finding
        if answered is None:
            return
        has_token = keyring.newest().token is not None
        yield calls.judge_access(address, shows_token=has_token, tables=answered.tables)
        async for finding in calls.check_workers(address, answered, keyring, seconds):
            yield finding
        for finding in judge_status(address, await ask_status(address, keyring, seconds), _own_version()):
            yield finding
        if answered.map_epoch:
            async for finding in check_cluster(address, transport, keyring, seconds):
                yield finding
    finally:
        await transport.close()


def _own_version() -> str:
    return metadata.version("engram-store")


def _own_versions() -> Finding:
    names = ("engram-store", "grpcio", "protobuf", "numpy")
    return ok("version", "this client", ", ".join(f"{name} {metadata.version(name)}" for name in names))
