"""Log records in Zeek's binary serialisation, both ways.

Every value on the wire names its type and says whether it is set. The columns are known before the first record, so a
record is compiled to one reader and one writer per column, and a value of another type than its column's is refused:
either the sender or our idea of its type numbers is wrong, and both make the rest unreadable.

Source: Zeek, ``src/threading/SerialTypes.cc`` and ``src/SerializationFormat.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.atoms import ATOM_READERS, ATOM_WRITERS
from appliance.zeek.numbering import Numbering
from appliance.zeek.schema import CONTAINER_TYPES, Field

__all__ = ["MIN_VALUE_BYTES", "Atom", "Datum", "Record", "RecordCodec"]

Atom: TypeAlias = bool | int | float | bytes | Port | Address | Subnet
"""What an atomic column holds.

bool: bool. int, count: int. double, time (seconds since the epoch), interval (seconds): float. string, enum (its name),
file, func: bytes. port: Port. addr: Address. subnet: Subnet.
"""
Datum: TypeAlias = Atom | tuple[Atom | None, ...] | None
"""One field: an `Atom`, the elements of a set or vector in the order of the sender, or None if the field is unset."""
Record: TypeAlias = tuple[Datum, ...]
"""One record: one `Datum` for each column of its schema."""

MIN_VALUE_BYTES = 9
"""Size of an unset value, the smallest: type, subtype, and whether a value follows."""

_HEAD = struct.Struct(">iiB")
_INT32 = struct.Struct(">i")
_INT64 = struct.Struct(">q")

_Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""Reads the value at an offset and returns it with the offset behind it."""
_Writer: TypeAlias = Callable[[Any], bytes]


class RecordCodec:
    """Reads and writes records of one list of columns.

    Args:
        fields: the columns, one at least.
        numbering: how the peer numbers types.

    Raises:
        RemoteProtocolError: a column of a type that a log cannot have.
    """

    __slots__ = ("_readers", "_writers", "fields", "numbering")

    def __init__(self, fields: Sequence[Field], numbering: Numbering = Numbering.FROM_5_0) -> None:
        if not fields:
            raise RemoteProtocolError("a log without columns")
        for field in fields:
            if not field.is_loggable:
                raise RemoteProtocolError(f"column {field.name!r} has a type that logs do not have: {field.type.name}")
        self.fields = tuple(fields)
        self.numbering = numbering
        self._readers = [_make_reader(field, numbering) for field in fields]
        self._writers = [_make_writer(field, numbering) for field in fields]

    @property
    def min_bytes(self) -> int:
        """Size of the smallest record, in which nothing is set."""
        return MIN_VALUE_BYTES * len(self.fields)

    def read(self, data: bytes, offset: int = 0) -> tuple[Record, int]:
        """Read one record without a field count, as log batches have them.

        Args:
            data: the bytes.
            offset: where the record begins, inside of `data` or at its end.

        Returns:
            The record, and where it ends.

        Raises:
            RemoteProtocolError: not a record of these columns.
        """
        values: list[Datum] = []
        try:
            for reader in self._readers:
                value, offset = reader(data, offset)
                values.append(value)
        except struct.error:
            raise RemoteProtocolError("a log record ends too early") from None
        return tuple(values), offset

    def decode(self, data: bytes) -> Record:
        """Read a record with its field count and nothing behind it, as Broker's LogWrite has it.

        Raises:
            RemoteProtocolError: not a record of these columns.
        """
        if len(data) < _INT32.size:
            raise RemoteProtocolError("a log record ends too early")
        count = _INT32.unpack_from(data)[0]
        if count != len(self.fields):
            raise RemoteProtocolError(f"a log record with {count} fields for {len(self.fields)} columns")
        record, end = self.read(data, _INT32.size)
        if end != len(data):
            raise RemoteProtocolError("bytes behind a log record")
        return record

    def write(self, record: Sequence[Datum]) -> bytes:
        """Write one record without a field count.

        Raises:
            LocalProtocolError: not one value of the right type and range for each column.
        """
        if len(record) != len(self.fields):
            raise LocalProtocolError(f"{len(record)} values for {len(self.fields)} columns")
        try:
            return b"".join([writer(value) for writer, value in zip(self._writers, record, strict=True)])
        except (struct.error, TypeError, AttributeError, OverflowError) as exc:
            raise LocalProtocolError("a value that its column cannot hold") from exc

    def encode(self, record: Sequence[Datum]) -> bytes:
        """Write one record with its field count.

        Raises:
            LocalProtocolError: not one value of the right type and range for each column.
        """
        return _INT32.pack(len(self.fields)) + self.write(record)


def _make_reader(field: Field, numbering: Numbering) -> _Reader:
    tag = numbering.to_tag(field.type)
    if field.type not in CONTAINER_TYPES:
        return _optional_reader(tag, ATOM_READERS[field.type])
    element = _optional_reader(numbering.to_tag(field.subtype), ATOM_READERS[field.subtype])

    def read_elements(data: bytes, offset: int) -> tuple[Datum, int]:
        (count,) = _INT64.unpack_from(data, offset)
        offset += _INT64.size
        if not 0 <= count * MIN_VALUE_BYTES <= len(data) - offset:
            raise RemoteProtocolError(f"a log record announces {count} elements and ends before them")
        elements: list[Atom | None] = []
        for _ in range(count):
            value, offset = element(data, offset)
            elements.append(value)
        return tuple(elements), offset

    return _optional_reader(tag, read_elements)


def _optional_reader(tag: int, read: _Reader) -> _Reader:
    """Read the head of a value, and its body if it is set."""
    present = _HEAD.pack(tag, 0, 1)
    absent = _HEAD.pack(tag, 0, 0)

    def read_optional(data: bytes, offset: int) -> tuple[Datum, int]:
        end = offset + MIN_VALUE_BYTES
        head = data[offset:end]
        if head == present:
            value: Datum
            value, end = read(data, end)
            return value, end
        if head == absent:
            return None, end
        # Zeek writes 0 as subtype but ignores what it reads, and takes any other byte than 1 as "unset".
        found, _, is_present = _HEAD.unpack(head)
        if found != tag:
            raise RemoteProtocolError(f"a value of type {found} in a column of type {tag}")
        return read(data, end) if is_present == 1 else (None, end)

    return read_optional


def _make_writer(field: Field, numbering: Numbering) -> _Writer:
    tag = numbering.to_tag(field.type)
    if field.type not in CONTAINER_TYPES:
        return _optional_writer(tag, ATOM_WRITERS[field.type])
    element = _optional_writer(numbering.to_tag(field.subtype), ATOM_WRITERS[field.subtype])

    def write_elements(value: tuple[Atom | None, ...]) -> bytes:
        if not isinstance(value, tuple):
            raise LocalProtocolError(f"a set or vector needs a tuple: {value!r}")
        return _INT64.pack(len(value)) + b"".join([element(item) for item in value])

    return _optional_writer(tag, write_elements)


def _optional_writer(tag: int, write: _Writer) -> _Writer:
    present = _HEAD.pack(tag, 0, 1)
    absent = _HEAD.pack(tag, 0, 0)

    def write_optional(value: Datum) -> bytes:
        return absent if value is None else present + write(value)

    return write_optional
