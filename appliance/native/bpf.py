"""Capture filters: the text that tcpdump takes, as a program for the kernel."""

from __future__ import annotations

import errno

from appliance._native import ffi, lib
from appliance.errors import ApplianceError, PrivilegeError
from appliance.native.pcap import SNAPLEN_MAX

__all__ = ["compile_filter"]

LINKTYPE_ETHERNET = 1


def compile_filter(
    text: str, *, linktype: int = LINKTYPE_ETHERNET, snaplen: int = SNAPLEN_MAX, interface: str = ""
) -> bytes:
    """Compile a filter with the system's libpcap, which is loaded when it is needed.

    The kernel keeps a VLAN tag beside the frame and not in it, and only a program made for a live interface looks for
    it there; only such a one knows directions. So give the `interface` for what goes into an `EthernetReceiver`; without
    it the text is checked for its syntax, which needs no privilege. Blocks: it opens the interface, and names of hosts
    are looked up.

    Args:
        text: pcap-filter(7); empty: everything.
        linktype: of the packets, if no `interface` is given.
        snaplen: bytes kept of each packet; the program cuts what is longer.
        interface: that it is for.

    Returns:
        Instructions of 8 bytes each (``struct sock_filter``), at most 4096.

    Raises:
        ValueError: the text is no filter; says what libpcap says.
        PrivilegeError: CAP_NET_RAW is missing to open the interface.
        ApplianceError: libpcap is not installed, or the interface cannot be opened.
    """
    out, count = ffi.new("struct bpf_code **"), ffi.new("char[]", _MESSAGE_BYTES)
    raise NotImplementedError(out, count, errno, lib, ApplianceError, PrivilegeError, text, linktype, snaplen, interface)


_MESSAGE_BYTES = 512
