"""What a node shows of itself to other nodes, and which of them it trusts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class CannotSpeakTo(Exception):
    """A node is not spoken to: it would be in plain text, or what is to be shown to it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSecurity:
    """Files, read again when they change. With `ca_file` nodes are spoken to over TLS, without it in plain text.

    Checked on creation; raises ValueError.
    """

    token_file: Path | None = None
    """Holds a token that lets the bearer copy blocks."""
    ca_file: Path | None = None
    """Certificates of which one must have signed that of each node."""
    cert_file: Path | None = None
    """The certificate to show to nodes."""
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a certificate and its key belong together: give both or neither")
        if self.ca_file is None and self.cert_file is not None:
            raise ValueError(
                f"{self.cert_file} would be shown to nodes over TLS alone, which is spoken to them if it is said by "
                "which certificates theirs are signed (--node-ca, of a command --ca-file)"
            )

    @property
    def scheme(self) -> str:
        """How URLs of nodes begin that are known by their addresses."""
        return "grpc" if self.ca_file is None else "grpcs"
