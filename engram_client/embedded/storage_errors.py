"""What storage says went wrong, as the client's errors: the one place where storage's errors end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from engram_client import errors
from store_server import storage

_ERROR_OF: Final[dict[type[Exception], type[errors.EngramError]]] = {
    storage.InvalidTableName: errors.InvalidTableName,
    storage.TableNotFound: errors.TableNotFound,
    storage.VersionNotFound: errors.VersionNotFound,
    storage.TableDamaged: errors.TableDamaged,
    storage.StorageFailure: errors.Unavailable,
    # The files were found to have changed during the fetch; another try looks at them again and tells what they are.
    storage.BackendClosed: errors.Unavailable,
    OSError: errors.Unavailable,
}


@contextlib.contextmanager
def client_errors() -> Iterator[None]:
    """Raise storage's errors, and the operating system's, as the client's.

    RootNotFound passes: a mistyped path is not tried again until the time limit, as everything Unavailable is.
    """
    try:
        yield
    except (errors.EngramError, storage.RootNotFound):
        raise
    except (storage.StorageError, OSError) as error:
        kind = next((ours for theirs, ours in _ERROR_OF.items() if isinstance(error, theirs)), errors.EngramError)
        raise kind(str(error)) from error
