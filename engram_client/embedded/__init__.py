"""Rows straight from a data root of this host, without a server: file:///ROOT."""

from engram_client.errors import EngramError

try:
    import store_server.storage  # noqa: F401  # so that what is missing is told in one place
except ImportError as missing:  # the client alone is installed
    raise EngramError(f"file:/// needs the extra 'server' of engram-store: {missing}") from missing

from engram_client.embedded.transport import EmbeddedTransport

__all__ = ["EmbeddedTransport"]
