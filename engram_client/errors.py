"""What can go wrong: one base, and a leaf for each case that a caller treats differently."""


class EngramError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidUrl(EngramError, ValueError):
    """The URL of a store is missing or not understood."""


class InsecureUrl(InvalidUrl):
    """Plain text would leave this host, and nobody has allowed that."""


class InvalidCredentials(EngramError, ValueError):
    """A file of a token, a certificate or a key cannot be read, or is no such thing."""


class Unauthenticated(EngramError, PermissionError):
    """The node wants to know who asks, and the token or the certificate that it was shown does not tell it."""


class PermissionDenied(EngramError, PermissionError):
    """The node knows who asks, and this one may not."""


class InvalidIds(EngramError, TypeError):
    """Row numbers must be integers: a list, a NumPy array or a torch tensor of any shape."""


class InvalidBuffer(EngramError, ValueError):
    """`out` is not a writable, C-contiguous uint8 array of exactly (*ids.shape, row_bytes)."""


class RowOutOfRange(EngramError, IndexError):
    """A row number is negative or at or past the end of the table."""


class InvalidTableName(EngramError, ValueError):
    """No table can have this name."""


class TableNotFound(EngramError, LookupError):
    """The store has no table of this name."""


class TableSetNotFound(EngramError, LookupError):
    """The store has no set of tables of this name. Only clusters have sets."""


class VersionNotFound(EngramError, LookupError):
    """The store has the table, but not this version of it: it was dropped or never there."""


class RowsNotHeld(EngramError, LookupError):
    """The node holds other rows of the version than these; its shard map, of `epoch`, says who does."""

    def __init__(self, message: str, epoch: int = 0) -> None:
        super().__init__(message, epoch)
        self.epoch = epoch

    def __str__(self) -> str:
        return str(self.args[0])


class FingerprintMismatch(EngramError, ValueError):
    """The table was made for another hashing than the client's: its rows would be the wrong rows."""


class TableDamaged(EngramError):
    """The stored version is damaged and is not served."""


class RequestTooLarge(EngramError, ValueError):
    """A message is larger than the other side takes."""


class Unavailable(EngramError, ConnectionError):
    """The store could not be reached, or broke off, until the time limit."""


class Overloaded(Unavailable):
    """The node has as much to do as it takes and refused to begin more; it may take it `retry_after` seconds later."""

    def __init__(self, message: str, retry_after: float = 0.1) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class TimeLimitExceeded(EngramError, TimeoutError):
    """The store was reached and did not answer within the time limit."""


class ProtocolError(EngramError):
    """The other side sent something that it must not send; nothing of it was used."""


class StoreClosed(EngramError, RuntimeError):
    """The store was closed, before the call or during it."""


class WrongLoop(EngramError, RuntimeError):
    """An async store belongs to the event loop that used it first."""


class ForkedProcess(EngramError, RuntimeError):
    """This process was forked while a store was open, and connections do not survive a fork."""
