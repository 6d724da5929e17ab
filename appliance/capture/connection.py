"""One connection: what arrives becomes frames, and the TCP segments that could have carried them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.errors import RemoteProtocolError
from appliance.native.synth import Address, TcpSynth

from .batch import ChunkBatch, Record
from .framing import Framing

__all__ = ["Connection"]


class Connection:
    """See the module. Only what the peer sends is recorded; the segments that open and close are made up.

    Args:
        peer: numeric.
        local: numeric.
        framing: cuts what the peer sends.
        is_dialled: we connected.
        isn: initial sequence number; another one for each connection of the same addresses.
    """

    def __init__(self, peer: Address, local: Address, *, framing: Framing, is_dialled: bool, isn: int) -> None:
        client, server = (local, peer) if is_dialled else (peer, local)
        self._synth = TcpSynth(client, server, client_isn=isn & 0xFFFFFFFF, server_isn=isn >> 7 & 0xFFFFFFFF)
        self._framing = framing
        self._peer_is_client = not is_dialled

    @property
    def error(self) -> RemoteProtocolError | None:
        """The peer broke the framing: nothing more can be read."""
        return self._framing.error

    def open(self, ts_ns: int) -> ChunkBatch:
        """The handshake."""
        return _batch(ts_ns, [], self._synth.open())

    def receive(self, ts_ns: int, data: bytes) -> ChunkBatch:
        """What became whole with `data`."""
        frames = self._framing.receive(data)
        return _batch(ts_ns, frames, self._synth.data(data, from_client=self._peer_is_client))

    def end(self, ts_ns: int, *, by_error: bool) -> tuple[ChunkBatch, bool]:
        """The end, and whether a frame was cut off by it."""
        frames, torn = self._framing.end()
        side = self._peer_is_client
        last = self._synth.reset(from_client=side) if by_error else self._synth.close(from_client=side)
        return _batch(ts_ns, frames, last), bool(torn)


def _batch(ts_ns: int, pieces: Sequence[bytes], headed: Sequence[bytes]) -> ChunkBatch:
    return ChunkBatch(_records(ts_ns, pieces), _records(ts_ns, headed))


def _records(ts_ns: int, pieces: Sequence[bytes]) -> list[Record]:
    return [(ts_ns, piece, len(piece)) for piece in pieces]
