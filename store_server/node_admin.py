"""Where those who run a node see into it and change it: where lookups are, or at an address of its own."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

import structlog

from store_server.limits.load import Load
from store_server.listen_address import ListenAddress
from store_server.node_port import NodePort
from store_server.services import admin, reflection

if TYPE_CHECKING:
    from store_server.access.node_access import NodeAccess
    from store_server.access.server_credentials import ServerCredentials
    from store_server.config import ServerConfig
    from store_server.observing.call_observer import CallObserver
    from store_server.services.node_changes import NodeChanges
    from store_server.services.node_status import NodeStatus

log = structlog.get_logger()
_MOST: Final = 64  # connections, and calls: clients that are too many must not keep out who would look after that
_BYTES: Final = 64 << 20


class NodeAdmin:
    """From `open` to `close`. `address` is that of its own, "" for none. Belongs to the event loop.

    Of several processes the one that speaks for the node listens there; changes are taken nowhere else then.
    """

    def __init__(
        self,
        config: ServerConfig,
        access: NodeAccess,
        status: NodeStatus,
        changes: NodeChanges,
        observer: CallObserver,
    ) -> None:
        self.address = ""
        self._has_reflection, self._has_channelz = config.reflection, config.channelz
        self._service = admin.AdminService(status, changes)
        self._status = status
        self._listen = None if config.access.admin_listen is None else ListenAddress.parse(config.access.admin_listen)
        self._port = None
        if self._listen is not None and config.access.speaks_for_node:
            limits = dataclasses.replace(
                config.limits, max_connections=_MOST, max_queued=_MOST, max_in_flight_bytes=_BYTES
            )
            self._port = NodePort(limits, Load(limits, 1), access.callers, observer)

    @property
    def where_lookups_are(self) -> admin.AdminService:
        """What is served beside lookups."""
        return self._service if self._listen is None else admin.AdminService(self._status, None)

    async def require_free(self) -> None:
        """Raise CannotListen if its address cannot be had."""
        if self._listen is not None and self._port is not None:
            await asyncio.to_thread(self._listen.require_free)

    async def open(self, credentials: ServerCredentials | None) -> None:
        """Listen, with TLS if there are credentials, but on a Unix socket, which is guarded by its folder's mode.

        Raises CannotListen.
        """
        if self._listen is None or self._port is None:
            return
        handlers, names = [self._service.handler(self._port.calls)], [admin.SERVICE]
        if self._has_channelz:
            from store_server.services import channelz  # rarely wanted: it takes memory

            handlers.append(channelz.handler(self._port.calls))
            names.append(channelz.SERVICE)
        if self._has_reflection:
            handlers.append(reflection.ReflectionService(names).handler(self._port.calls))
        self.address = await self._port.open(self._listen, None if self._listen.path else credentials, handlers)
        log.info("taking changes", address=self.address)

    async def close(self) -> None:
        """End all calls at once."""
        if self._port is not None:
            await self._port.close()
