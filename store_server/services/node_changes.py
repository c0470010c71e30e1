"""What callers may change of a node: who may, what comes of it, and that both is written down."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from store_server import failures
from store_server.access.allowed_sources import SourceNotAllowed
from store_server.access.audit import Event
from store_server.access.caller import Scope
from store_server.access.changes import why_no_change, why_no_change_at_all, why_no_drain
from store_server.access.refusals import Refusals
from store_server.root_changes import ChangeFailed
from store_server.storage import InvalidTableName, StorageError, TableNotFound, VersionNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from store_server.access.audit import Audit, Detail
    from store_server.root_changes import Found, RootChanges
    from store_server.services.call import Call

log = structlog.get_logger()
_FOR_CALLERS_TO_KNOW: Final = (InvalidTableName, TableNotFound, VersionNotFound)


class NodeChanges:
    """Belongs to the event loop. `announce` has all processes of the node tell that it stops."""

    def __init__(self, root: RootChanges, announce: Callable[[], None], audit: Audit) -> None:
        self._root = root
        self._announce = announce
        self._audit = audit
        self._refusals = Refusals(audit)

    def drain(self, call: Call) -> None:
        """Announce that the node stops. Raises CallFailed."""
        self._permit(call, "drain", why_no_drain(call.caller))
        self._record(call, "drain", "allowed", {})
        self._announce()

    async def attach(self, call: Call, name: str, checkpoint: str) -> tuple[Found, set[str], bool]:
        """Return what was attached, which of it was so before, and whether it is served. Raises CallFailed."""
        self._permit(call, "attach", why_no_change_at_all(call.caller))
        asked: Mapping[str, Detail] = {"table": name[:300], "checkpoint": checkpoint[:300]}
        with self._taken_down(call, "attach", asked):
            found = await self._root.find(name, checkpoint)
            for table in found.manifests:
                self._permit(call, "attach", why_no_change(call.caller, table))
            versions = {table: manifest.version for table, manifest in found.manifests.items()}
            self._record(call, "attach", "allowed", {**asked, "versions": list(versions.values())})
            unchanged = await self._root.attach(found.manifests)
        return found, unchanged, await self._root.serves(versions)

    async def drop(self, call: Call, table: str, version: str) -> bool:
        """Remove a version, "" for the whole table; tells whether it is let go of. Raises CallFailed."""
        is_hidden = not call.caller.may(Scope.READ, table)
        self._permit(call, "drop", why_no_change(call.caller, table), hidden=table if is_hidden else None)
        asked: Mapping[str, Detail] = {"table": table[:300], "version": version[:300] or "all of them"}
        with self._taken_down(call, "drop", asked):
            self._record(call, "drop", "allowed", asked)
            await self._root.drop(table, version)
        return await self._root.has_let_go(table, version)

    def _permit(self, call: Call, action: str, refusal: str, *, hidden: str | None = None) -> None:
        """Raise CallFailed where there is a refusal; about a table that is `hidden`, as of one that is not there."""
        if not refusal:
            return
        caller, peer = call.caller.name, call.context.peer()
        self._refusals.say(refusal, peer=peer, caller=caller, action=action, request_id=call.observed.request_id)
        raise failures.change_refused(refusal) if hidden is None else failures.table_not_found(hidden, "this node")

    @contextmanager
    def _taken_down(self, call: Call, action: str, asked: Mapping[str, Detail]) -> Iterator[None]:
        """Take down what keeps a change from being made. Raises CallFailed for that."""
        try:
            yield
        except SourceNotAllowed as error:
            self._permit(call, action, str(error))
        except (ChangeFailed, StorageError, OSError) as error:
            self._record(call, action, "failed", {**asked, "reason": str(error)})
            if isinstance(error, _FOR_CALLERS_TO_KNOW):
                raise failures.of_storage(error) from error
            raise failures.change_failed(error) from error

    def _record(self, call: Call, action: str, outcome: str, details: Mapping[str, Detail]) -> None:
        event = Event(
            action=action,
            outcome=outcome,
            caller=call.caller.name,
            peer=call.context.peer(),
            request_id=call.observed.request_id,
            details=details,
        )
        self._audit.record(event)
        log.info(f"change {outcome}", **event.line())
