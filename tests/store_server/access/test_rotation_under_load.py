"""Certificates of both sides and the token are replaced over and over while rows are fetched: no fetch fails."""

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs
from support.certificates import make_authority, make_certificate, replace
from support.credentials import CredentialsOnDisk
from support.rows import random_rows
from support.steady_load import SteadyLoad
from support.tables import write_table

import engram_client
from store_server.access.access_config import AccessConfig
from store_server.config import ServerConfig
from store_server.node import running
from store_server.tls_config import TlsConfig

ROWS = random_rows(5000, 64)
PATIENCE_SECONDS = 30


class Rotating:
    """Files of a node and a client of it, which are replaced together; what was before counts no more at once."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = make_authority(folder, "authority")
        self.node = make_certificate(folder, "node", self.authority)
        self.client = make_certificate(folder, "client", self.authority)
        self.credentials = CredentialsOnDisk(folder / "credentials")
        self.token_file = folder / "token"
        self.token = self.credentials.add("me")
        self.token_file.write_text(self.token.text())

    def replace_all(self):
        """Give both sides other certificates, and the client another token."""
        before, self.token = self.token, self.credentials.add("me")
        self.node.replace(make_certificate(self.folder, "next-node", self.authority))
        self.client.replace(make_certificate(self.folder, "next-client", self.authority))
        replace(self.token_file, self.token.text().encode())
        self.credentials.remove(before)

    def serving(self):
        write_table(self.folder / "root", "t", ROWS)
        tls = TlsConfig(cert_file=self.node.cert, key_file=self.node.key, client_ca_file=self.authority.cert)
        access = AccessConfig(tokens=self.credentials.path)
        return running(ServerConfig(root=self.folder / "root", listen="127.0.0.1:0", tls=tls, access=access))

    def connect(self, address):
        return engram_client.connect(
            f"grpcs://{address}",
            timeout=PATIENCE_SECONDS,
            token_file=self.token_file,
            ca_file=self.authority.cert,
            cert_file=self.client.cert,
            key_file=self.client.key,
        )


async def rotate(folder, times):
    """Fetch all the time while everything is replaced so many times; returns what went wrong."""
    rotating = Rotating(folder)
    async with contextlib.AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        node = await stack.enter_async_context(rotating.serving())
        store = await stack.enter_async_context(rotating.connect(node.address))
        load = await stack.enter_async_context(SteadyLoad(await store.table("t"), ROWS))
        for number in range(1, times + 1):
            rotating.replace_all()
            await shown_anew(logs, number)
            await load.go_on(20)
    return load.wrong


async def shown_anew(logs, times):
    """Wait until a client has connected since the certificates were replaced for the last time."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(line["event"] == "certificate read again" for line in logs) < times:
            await asyncio.sleep(0.01)


async def test_no_fetch_fails_while_credentials_are_replaced(tmp_path):
    assert await rotate(tmp_path, 4) == []


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_fetch_fails_in_a_hundred_rotations(tmp_path):
    assert await rotate(tmp_path, 100) == []
