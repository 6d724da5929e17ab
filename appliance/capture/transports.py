"""Which socket a table asks for; only its module is imported."""

from __future__ import annotations

from appliance.config import Capture

from .transport import Transport

__all__ = ["make_transport"]


def make_transport(capture: Capture, *, door: str) -> Transport:
    """The socket that a table asks for, not open yet."""
    if capture.conn_type == "tcp":
        from .tcp import TcpTransport

        return TcpTransport(capture, door=door)
    if capture.conn_type == "ethernet":
        from .ethernet import EthernetTransport

        return EthernetTransport(capture, door=door)
    from .udp import UdpTransport

    return UdpTransport(capture, door=door)
