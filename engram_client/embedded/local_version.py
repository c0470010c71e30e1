"""One version of a table on this host: its files are open for as long as somebody may read them."""

from __future__ import annotations

import math
import threading
import time
import weakref
from typing import Final

from engram_client.table_info import TableInfo
from store_server import storage

_SECONDS_BETWEEN_LOOKS: Final = 1.0  # at the files of a table, and at what of it lies in RAM
# The kernel takes up to 26 ms a GiB to say what lies in RAM, and a table may have hundreds.
_SECONDS_ON_RESIDENCY_AT_OPEN: Final = 0.1
_SECONDS_ON_RESIDENCY: Final = 0.02


class LocalVersion:
    """A version whose files are open until its description `info` is no longer held by anybody.

    Those of an attached checkpoint are not ours: anybody may change them, so they are looked at again and again.
    """

    def __init__(
        self, root: storage.DataRoot, info: TableInfo, manifest: storage.Manifest, resident_set: storage.ResidentSet
    ) -> None:
        self.info = weakref.ref(info)
        self.is_closed = False
        self._root = root
        self._table = info.name
        self._manifest = manifest
        self._resident_set = resident_set
        self._looking = threading.Lock()
        self._backend: storage.Backend | None = None
        self._looked_at = self._residency_looked_at = -math.inf
        weakref.finalize(info, self.close).atexit = False

    def has_to_be_looked_at(self, now: float) -> bool:
        """Tell whether `look` has something to do: it takes a thread."""
        return self._backend is None or (self._manifest.is_attached and now - self._looked_at >= _SECONDS_BETWEEN_LOOKS)

    def look(self, now: float) -> None:
        """Open the files if they are not, or see that they are still what was opened. Raises StorageError."""
        with self._looking:
            if self._backend is None:
                self._open(now)
            elif self.has_to_be_looked_at(now):  # else another thread has just looked
                self._check_files()
                self._looked_at = now

    def backend(self) -> storage.Backend:
        """Return the open files; raises BackendClosed."""
        backend = self._backend
        if backend is None:
            raise storage.BackendClosed(self._table, self._manifest.version)
        return backend

    def residency_is_old(self, now: float) -> bool:
        """Tell, once, that it is time to ask again what lies in RAM."""
        if now - self._residency_looked_at < _SECONDS_BETWEEN_LOOKS:
            return False
        self._residency_looked_at = now
        return True

    def refresh_residency(self) -> None:
        """Ask the kernel what lies in RAM, for a moment, going on where the last time ended. Raises StorageError."""
        self.backend().refresh_residency(time.monotonic() + _SECONDS_ON_RESIDENCY)

    def close(self) -> None:
        """Let go of the files, for good."""
        self.is_closed = True
        self._let_go()

    def _open(self, now: float) -> None:
        backend = self._root.open_backend(self._table, self._manifest.version, resident_set=self._resident_set)
        backend.refresh_residency(time.monotonic() + _SECONDS_ON_RESIDENCY_AT_OPEN)
        self._looked_at = self._residency_looked_at = now
        self._backend = backend
        if self.is_closed:  # meanwhile, without a wait for the disk that this thread waited for
            self._let_go()
            raise storage.BackendClosed(self._table, self._manifest.version)

    def _check_files(self) -> None:
        try:
            self._root.check_files(self._table, self._manifest)
        except storage.FilesChanged:
            self._let_go()  # if they come back, they are opened anew
            raise
        except storage.StorageError:
            return  # cannot be looked at just now; what is mapped is still there

    def _let_go(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()
