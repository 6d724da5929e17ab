"""Items as bytes: MessagePack, with a version, so that a journal outlives the program that wrote it.

A chunk is an array ``[version, [[kind, body], …]]``; the body is the item's fields by name: fields may be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from appliance.model import EventBatch, FileReady, FolderReady, Item, LogBatch, NodeStatus, Print, Segment, StoreEvent

__all__ = ["CodecError", "decode_items", "encode_items"]

VERSION = 1
_KINDS: dict[str, type[Item]] = {
    "log": LogBatch,
    "event": EventBatch,
    "print": Print,
    "segment": Segment,
    "file": FileReady,
    "folder": FolderReady,
    "store": StoreEvent,
    "node": NodeStatus,
}
_RAW_TEXT = 1
"""Extension type of text with surrogates: names from the network are not always UTF-8."""


class CodecError(ValueError):
    """Bytes that are no chunk of a version that we know."""


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(_RAW_TEXT, value.encode("utf-8", "surrogateescape"))
        return value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _fields(item: Item) -> dict[str, Any]:
    return {field.encode_name: _plain(getattr(item, field.name)) for field in msgspec.structs.fields(item)}


def _text(code: int, data: memoryview) -> str:
    if code != _RAW_TEXT:
        raise CodecError(f"extension type {code} is not known")
    return bytes(data).decode("utf-8", "surrogateescape")


_encoder = msgspec.msgpack.Encoder()
_outer = msgspec.msgpack.Decoder(tuple[int, list[tuple[str, msgspec.Raw]]])
_loose = msgspec.msgpack.Decoder(ext_hook=_text)
_strict = {kind: msgspec.msgpack.Decoder(struct) for kind, struct in _KINDS.items()}


def encode_items(items: Sequence[Item]) -> bytes:
    """A chunk of `items`."""
    try:
        return _encoder.encode((VERSION, [(item.kind, item) for item in items]))
    except UnicodeEncodeError:
        bodies = [(item.kind, _fields(item)) for item in items]
        return _encoder.encode((VERSION, bodies))


def decode_items(body: bytes) -> list[Item]:
    """The items of a chunk.

    Raises:
        CodecError: it is none, or written by a version that we do not know.
    """
    try:
        version, bodies = _outer.decode(body)
        if version != VERSION:
            raise CodecError(f"version {version} of the journal's items is not known")
        return [_decode(kind, raw) for kind, raw in bodies]
    except (msgspec.MsgspecError, KeyError, UnicodeError) as exc:
        raise CodecError(f"not the items of a journal: {exc}") from exc


def _decode(kind: str, raw: msgspec.Raw) -> Item:
    try:
        return _strict[kind].decode(raw)
    except msgspec.ValidationError:
        return msgspec.convert(_loose.decode(raw), _KINDS[kind])
