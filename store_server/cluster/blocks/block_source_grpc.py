"""Blocks of another node, by its BlockService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from engram_store.v1 import block_service_pb2 as pb
from store_server.cluster.blocks.block_source import MOST_MANIFEST_BYTES, SourceFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_server.cluster.node_channel import NodeChannels
    from store_server.storage import Manifest

_AROUND_BYTES: Final = 1024
_SERVICE: Final = "/engram_store.v1.BlockService"
_BLOCKS_A_CALL: Final = 16
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MOST_MANIFEST_BYTES + _AROUND_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a large copy has a connection of its own
)


class GrpcSource:
    """The node at `address`, HOST:PORT. Each call, of a manifest or of a few blocks, ends within the time limit.

    Raises CannotSpeakTo.
    """

    def __init__(self, address: str, wait_seconds: float, channels: NodeChannels, *, tls: bool) -> None:
        self.url = f"{'grpcs' if tls else 'grpc'}://{address}"
        self._wait_seconds = wait_seconds
        self._is_interrupted = False
        self._channels = channels
        self._channel = channels.open(address, tls=tls, options=_OPTIONS)
        self._get_manifest = self._channel.unary_unary(
            f"{_SERVICE}/GetManifest",
            request_serializer=pb.GetManifestRequest.SerializeToString,
            response_deserializer=pb.GetManifestResponse.FromString,
        )
        self._read_blocks = self._channel.unary_stream(
            f"{_SERVICE}/ReadBlocks",
            request_serializer=pb.ReadBlocksRequest.SerializeToString,
            response_deserializer=pb.ReadBlocksResponse.FromString,
        )

    def manifest(self, table: str, version: str) -> bytes:
        """See BlockSource.manifest."""
        try:
            request = pb.GetManifestRequest(table=table, version=version)
            metadata = self._channels.metadata()
            return bytes(self._get_manifest(request, timeout=self._wait_seconds, metadata=metadata).manifest)
        except (grpc.RpcError, ValueError) as error:
            raise self._failed(error) from error

    def blocks(self, table: str, manifest: Manifest, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """See BlockSource.blocks."""
        end = first + count
        for begin in range(first, end, _BLOCKS_A_CALL):
            request = pb.ReadBlocksRequest(
                table=table,
                version=manifest.version,
                first_block=begin,
                num_blocks=min(_BLOCKS_A_CALL, end - begin),
            )
            try:
                call = self._read_blocks(request, timeout=self._wait_seconds, metadata=self._channels.metadata())
            except ValueError as error:
                raise self._failed(error) from error
            try:
                for reply in call:
                    yield reply.block, reply.rows
            except grpc.RpcError as error:
                raise self._failed(error) from error
            finally:
                call.cancel()

    def interrupt(self) -> None:
        """See BlockSource.interrupt."""
        self._is_interrupted = True
        self._channel.close()

    def close(self) -> None:
        """See BlockSource.close."""
        self._channel.close()

    def _failed(self, error: grpc.RpcError | ValueError) -> SourceFailed:
        if self._is_interrupted:  # a call on a closed channel is a ValueError
            return SourceFailed(self.url, "was interrupted")
        if isinstance(error, ValueError):
            raise error
        return SourceFailed(self.url, f"{error.code().name}: {error.details()}")
