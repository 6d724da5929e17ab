"""Capture filters: the text that tcpdump takes, as a program for the kernel."""

from __future__ import annotations

import errno
from typing import NoReturn

from appliance._native import ffi, lib
from appliance.errors import ApplianceError, PrivilegeError
from appliance.native.pcap import SNAPLEN_MAX

__all__ = ["compile_filter"]

_MESSAGE_BYTES = 512
LINKTYPE_ETHERNET = 1


def compile_filter(
    text: str, *, linktype: int = LINKTYPE_ETHERNET, snaplen: int = SNAPLEN_MAX, interface: str = ""
) -> bytes:
    """Compile a filter with the system's libpcap, which is loaded when it is needed.

    The kernel keeps a VLAN tag beside the frame and not in it, and only a program made for a live interface looks for
    it there; only such a one knows directions. So give the `interface` for what goes into an `EthernetReceiver`;
    without it the text is checked for its syntax, which needs no privilege. Blocks: it opens the interface, and names
    of hosts are looked up.

    Args:
        text: pcap-filter(7); empty: everything.
        linktype: of the files' packets, if no `interface` is given.
        snaplen: bytes kept of each packet; the program cuts what is longer.
        interface: that it is for.

    Returns:
        Instructions of 8 bytes each (``struct sock_filter``), at most 4096.

    Raises:
        ValueError: the text is no filter; says what libpcap says.
        PrivilegeError: CAP_NET_RAW is missing to open the interface.
        ApplianceError: libpcap is not installed, or the interface cannot be opened: it is not there, or down.
    """
    if "\0" in text + interface:
        raise ValueError("no filter: it holds a NUL character")
    program, size = ffi.new("uint8_t **"), ffi.new("size_t *")
    message = ffi.new("char[]", _MESSAGE_BYTES)
    arguments = (text.encode(errors="surrogateescape"), linktype, snaplen, interface.encode())
    error = lib.filter_compile(*arguments, program, size, message, _MESSAGE_BYTES)
    if error:
        _fail(error, ffi.string(message).decode(errors="replace"), text, interface)
    try:
        return bytes(ffi.buffer(program[0], size[0]))
    finally:
        lib.filter_free(program[0])


def _fail(error: int, detail: str, text: str, interface: str) -> NoReturn:
    if error == errno.EINVAL:
        raise ValueError(f"no filter: {text!r}: {detail}")
    if error == errno.EPERM:
        raise PrivilegeError(f"cannot open {interface} to compile a filter: {detail}", hint="CAP_NET_RAW is missing")
    if error == errno.ELIBACC:
        raise ApplianceError("cannot compile a filter: libpcap is not installed", hint="install the package libpcap0.8")
    if error == errno.ENOMEM:
        raise MemoryError("no memory for a filter")
    raise ApplianceError(f"cannot open {interface} to compile a filter: {detail}")
