"""``POST /v1/events``: one event or print from JSON. Pure.

``{"topic": "zeek/event/x", "event": "My::event", "args": [...]}`` or ``{"topic": "bro/print/x", "print": "text"}``, and
``"via": ["broker"]`` if it is to go out through some doors only. An argument is plain JSON, as `appliance.zeek.convert`
reads Python's objects, or has its type with it, as on Zeek's WebSocket: ``{"@data-type": "count", "data": 5}``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.runtime.outlet import Published
from appliance.zeek.binary import MAX_DEPTH, encode
from appliance.zeek.convert import to_value
from appliance.zeek.json_text import load
from appliance.zeek.json_values import value_from_object
from appliance.zeek.messages import Event, encode_message
from appliance.zeek.schema import as_bytes
from appliance.zeek.values import Value

from .exchange import Answer, problem

__all__ = ["BadInputError", "Message", "Publication", "answer_to", "parse_publication", "read_value"]

_KEYS = frozenset({"topic", "event", "args", "print", "via"})
_REFUSALS = {
    "no_broker": (409, "there is no door into a cluster to publish with"),
    "no_peer": (409, "no peer is connected"),
    "no_subscriber": (409, "no peer asked for this topic"),
    "not_allowed": (403, "access control (the key publish of the door) does not allow this topic"),
    "bad_topic": (400, "no topic that can be published on"),
    "too_large": (413, "larger than the max_message of the door"),
    "no_json": (400, "a number that JSON does not have, or a text that is not UTF-8, cannot go out through this door"),
    "events_only": (409, "only events can go out through this door"),
}


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sent: either an event or a print."""

    topic: str
    event: str = ""
    args: list[Any] = []
    print: str = ""
    via: list[str] = []
    """Globs over the doors that it goes out through; none: all of them."""


class Publication(NamedTuple):
    """What is to be published."""

    topic: str
    message: bytes
    via: tuple[str, ...] = ()
    """Globs over the doors through which it goes out; none: all of them."""


class BadInputError(Exception):
    """A mistake of the client.

    Args:
        where: the member, e.g. ``args[1]``; empty for all of it.
        what: is wrong with it.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.where = where
        self.what = what


def parse_publication(body: bytes) -> Publication:
    """Read a request's body.

    Raises:
        BadInputError: the first mistake in it.
    """
    try:
        tree = load(body)
    except RemoteProtocolError as exc:
        raise BadInputError("", exc.message) from exc
    if not isinstance(tree, dict):
        raise BadInputError("", "expected an object")
    if unknown := sorted(tree.keys() - _KEYS):
        raise BadInputError(unknown[0], "unknown; there are topic, event, args, print and via")
    if ("event" in tree) == ("print" in tree):
        raise BadInputError("", "expected either event or print")
    topic = _text(tree, "topic")
    via = _doors(tree.get("via", []))
    if "print" in tree:
        if "args" in tree:
            raise BadInputError("args", "a print has none")
        return Publication(topic, encode(as_bytes(_text(tree, "print", may_be_empty=True))), via)
    return Publication(topic, _make_event(_text(tree, "event"), tree.get("args", [])), via)


def _doors(tree: object) -> tuple[str, ...]:
    if not isinstance(tree, list) or not all(isinstance(door, str) for door in tree):
        raise BadInputError("via", "expected an array of texts")
    return tuple(tree)


def _text(tree: dict[str, Any], key: str, *, may_be_empty: bool = False) -> str:
    text = tree.get(key)
    if not isinstance(text, str) or not (text or may_be_empty):
        raise BadInputError(key, "must not be empty" if text == "" else "expected a text" if key in tree else "missing")
    try:
        as_bytes(text)
    except ValueError as exc:
        raise BadInputError(key, "half a character is no text") from exc
    return text


def _make_event(name: str, args: object) -> bytes:
    if not isinstance(args, list):
        raise BadInputError("args", "expected an array")
    values = [read_value(arg, f"args[{i}]") for i, arg in enumerate(args)]
    try:
        return encode_message(Event.make(name, *values))
    except (LocalProtocolError, ValueError) as exc:
        raise BadInputError("args", str(exc)) from exc


def read_value(tree: object, where: str) -> Value:
    """A value from parsed JSON, plain or with its type.

    Args:
        tree: the JSON.
        where: the member that it is, for people.

    Raises:
        BadInputError: what is wrong with it.
    """
    try:
        return to_value(_with_types(tree, MAX_DEPTH))
    except RemoteProtocolError as exc:
        raise BadInputError(where, exc.message) from exc
    except (TypeError, ValueError) as exc:
        raise BadInputError(where, str(exc)) from exc


def _with_types(tree: object, depth: int) -> object:
    """Parsed JSON, in which what has its type with it is a value of Broker."""
    if not isinstance(tree, dict | list):
        return tree
    if isinstance(tree, dict) and "@data-type" in tree:
        return value_from_object(tree)
    if depth <= 0:
        raise ValueError("nested too deep")
    if isinstance(tree, dict):
        return {key: _with_types(each, depth - 1) for key, each in tree.items()}
    return [_with_types(each, depth - 1) for each in tree]


def answer_to(published: Published) -> Answer:
    """The response that tells what became of it."""
    if not published.refused:
        return Answer(202, msgspec.json.encode({"peers": published.peers}))
    status, detail = _REFUSALS.get(published.refused, (409, published.refused))
    return problem(status, "not published", reason=published.refused, detail=detail)
