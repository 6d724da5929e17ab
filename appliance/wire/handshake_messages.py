"""The messages of the handshake, both ways, and the reasons for which it ends.

Source: Broker, ``internal/wire_format.hh`` and ``wire_format.cc``, ``broker/error.hh``.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.filters import encode_filter, read_filter
from appliance.wire.framing import make_frame
from appliance.wire.names import ID_BYTES, EndpointId
from appliance.zeek.binary import read_varbyte, write_varbyte
from appliance.zeek.schema import as_bytes, as_text

__all__ = [
    "MAGIC",
    "PROTOCOL_VERSION",
    "DropCode",
    "DropConn",
    "HandshakeError",
    "HandshakeMessage",
    "Hello",
    "OriginatorAck",
    "OriginatorSyn",
    "Probe",
    "ResponderSynAck",
    "VersionSelect",
    "encode_handshake",
    "parse_handshake",
]

MAGIC = b"ZEEK"
PROTOCOL_VERSION = 1
"""The only one there is."""

_LAST_CODE_TAKEN = 40  # Broker has no text for the one behind it


class DropCode(enum.IntEnum):
    """Why a connection is refused: Broker's errors, by their names there.

    Few of them are sent: 1, 2, 20, 28, 38, 39, 40.
    """

    NONE = 0
    UNSPECIFIED = 1
    PEER_INCOMPATIBLE = 2
    PEER_INVALID = 3
    PEER_UNAVAILABLE = 4
    PEER_DISCONNECT_DURING_HANDSHAKE = 5
    PEER_TIMEOUT = 6
    MASTER_EXISTS = 7
    NO_SUCH_MASTER = 8
    NO_SUCH_KEY = 9
    REQUEST_TIMEOUT = 10
    TYPE_CLASH = 11
    INVALID_DATA = 12
    BACKEND_FAILURE = 13
    STALE_DATA = 14
    CANNOT_OPEN_FILE = 15
    CANNOT_WRITE_FILE = 16
    INVALID_TOPIC_KEY = 17
    END_OF_FILE = 18
    INVALID_TAG = 19
    INVALID_MESSAGE = 20
    INVALID_STATUS = 21
    CONVERSION_FAILED = 22
    CONSUMER_EXISTS = 23
    CONNECTION_TIMEOUT = 24
    BAD_MEMBER_FUNCTION_CALL = 25
    REPEATED_REQUEST_ID = 26
    BROKEN_CLONE = 27
    SHUTTING_DOWN = 28
    INVALID_PEERING_REQUEST = 29
    REPEATED_PEERING_HANDSHAKE_REQUEST = 30
    UNEXPECTED_HANDSHAKE_MESSAGE = 31
    INVALID_HANDSHAKE_STATE = 32
    NO_PATH_TO_PEER = 33
    NO_CONNECTOR_AVAILABLE = 34
    CANNOT_OPEN_RESOURCE = 35
    SERIALIZATION_FAILED = 36
    DESERIALIZATION_FAILED = 37
    WRONG_MAGIC_NUMBER = 38
    REDUNDANT_CONNECTION = 39
    LOGIC_ERROR = 40
    INVALID_JSON = 41


class HandshakeError(RemoteProtocolError):
    """A message that no handshake can go on after.

    Args:
        code: what Broker answers with in a `DropConn`.
        message: the text it puts there.
    """

    def __init__(self, code: DropCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hello(msgspec.Struct, frozen=True):
    """Who dialled, and what it speaks; a listener answers with one if the dialer shall lead."""

    KIND: ClassVar[int] = 6
    sender: EndpointId
    min_version: int = PROTOCOL_VERSION
    max_version: int = PROTOCOL_VERSION


class Probe(msgspec.Struct, frozen=True):
    """What a listener sends at once, to find out whether the transport carries anything."""

    KIND: ClassVar[int] = 7


class VersionSelect(msgspec.Struct, frozen=True):
    """The originator's first word: who it is and which version it chose."""

    KIND: ClassVar[int] = 8
    sender: EndpointId
    version: int = PROTOCOL_VERSION


class DropConn(msgspec.Struct, frozen=True):
    """No, and why."""

    KIND: ClassVar[int] = 9
    sender: EndpointId
    code: int
    text: str


class OriginatorSyn(msgspec.Struct, frozen=True):
    """What the originator wants."""

    KIND: ClassVar[int] = 10
    filter: tuple[str, ...]


class ResponderSynAck(msgspec.Struct, frozen=True):
    """What the responder wants."""

    KIND: ClassVar[int] = 11
    filter: tuple[str, ...]


class OriginatorAck(msgspec.Struct, frozen=True):
    """The end of the handshake."""

    KIND: ClassVar[int] = 12


HandshakeMessage: TypeAlias = Hello | Probe | VersionSelect | DropConn | OriginatorSyn | ResponderSynAck | OriginatorAck
"""Any message of the handshake."""


def encode_handshake(message: HandshakeMessage) -> bytes:
    """Write a message, its frame included.

    Raises:
        LocalProtocolError: an ID that is not one, a number that does not fit a byte, a text that cannot be transmitted.
    """
    try:
        return make_frame(bytes((message.KIND,)) + _write_fields(message))
    except ValueError as exc:
        raise LocalProtocolError(f"a {type(message).__name__} that cannot be transmitted: {exc}") from exc


def parse_handshake(payload: bytes) -> HandshakeMessage:
    """Read a message. What is behind its last field is ignored, as Broker does.

    Raises:
        HandshakeError: not a message of the handshake, or one that Broker refuses wherever it comes; says what the
            sender is told.
    """
    kind = payload[0] if payload else None
    parse = _PARSERS.get(kind)
    if parse is None:
        raise HandshakeError(DropCode.INVALID_MESSAGE, "invalid message type tag")
    name, read = parse
    try:
        return read(payload)
    except HandshakeError:
        raise
    except (RemoteProtocolError, struct.error):
        raise HandshakeError(DropCode.INVALID_MESSAGE, f"failed to parse {name}") from None


def _write_fields(message: HandshakeMessage) -> bytes:
    match message:
        case Hello(sender, lowest, highest):
            return MAGIC + _id(sender) + bytes((lowest, highest))
        case Probe():
            return MAGIC
        case VersionSelect(sender, version):
            return MAGIC + _id(sender) + bytes((version,))
        case DropConn(sender, code, text):
            description = as_bytes(text)
            return MAGIC + _id(sender) + bytes((code,)) + write_varbyte(len(description)) + description
        case OriginatorSyn(prefixes) | ResponderSynAck(prefixes):
            return encode_filter(prefixes)
        case OriginatorAck():
            return b""


def _id(endpoint: EndpointId) -> bytes:
    if len(endpoint) != ID_BYTES:
        raise ValueError(f"an endpoint ID of {len(endpoint)} bytes")
    return endpoint


_MAGIC = struct.Struct(">x4s")
_HELLO = struct.Struct(">x4s16sBB")
_SELECT = struct.Struct(">x4s16sB")


def _check_magic(payload: bytes) -> None:
    (magic,) = _MAGIC.unpack_from(payload)
    if magic != MAGIC:
        raise HandshakeError(DropCode.WRONG_MAGIC_NUMBER, "wrong magic number")


def _read_hello(payload: bytes) -> Hello:
    _check_magic(payload)
    _, sender, lowest, highest = _HELLO.unpack_from(payload)
    if not lowest <= PROTOCOL_VERSION <= highest:
        raise HandshakeError(DropCode.PEER_INCOMPATIBLE, "unsupported versions offered")
    return Hello(sender, lowest, highest)


def _read_probe(payload: bytes) -> Probe:
    _check_magic(payload)
    return Probe()


def _read_version_select(payload: bytes) -> VersionSelect:
    _check_magic(payload)
    _, sender, version = _SELECT.unpack_from(payload)
    if version != PROTOCOL_VERSION:
        raise HandshakeError(DropCode.PEER_INCOMPATIBLE, "unsupported version selected")
    return VersionSelect(sender, version)


def _read_drop_conn(payload: bytes) -> DropConn:
    _check_magic(payload)
    _, sender, code = _SELECT.unpack_from(payload)
    length, begin = read_varbyte(payload, _SELECT.size)
    if begin + length > len(payload):
        raise RemoteProtocolError(f"a text of {length} bytes in a message that ends before it")
    text = as_text(payload[begin : begin + length])
    if code > _LAST_CODE_TAKEN:
        raise HandshakeError(DropCode.UNSPECIFIED, text)
    return DropConn(sender, code, text)


_PARSERS: dict[int | None, tuple[str, Callable[[bytes], HandshakeMessage]]] = {
    Hello.KIND: ("hello", _read_hello),
    Probe.KIND: ("probe", _read_probe),
    VersionSelect.KIND: ("version_select", _read_version_select),
    DropConn.KIND: ("drop_conn", _read_drop_conn),
    OriginatorSyn.KIND: ("originator_syn", lambda payload: OriginatorSyn(read_filter(payload, 1)[0])),
    ResponderSynAck.KIND: ("responder_syn_ack", lambda payload: ResponderSynAck(read_filter(payload, 1)[0])),
    OriginatorAck.KIND: ("originator_ack", lambda _payload: OriginatorAck()),
}
