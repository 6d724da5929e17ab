"""What the appliance and a worker process say to each other; MessagePack, one message a frame.

The appliance says `Setup` once, and is answered `Ready` or `Broken`; then it says `Work`, again and again, one at a
time. While a worker works it says `Failed`, `Undecodable`, `Wants`, `Told` and `Asked`, in the order in which they
happened, and at the end `Done`. `Told` and `Asked` may come at any time. What was asked is answered on a pipe of its
own, so that every thread of a hook may ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from appliance.errors import RemoteProtocolError
from appliance.runtime.journal.entries import Failure

__all__ = ["Answer", "Asked", "Broken", "Done", "Failed", "FromWorker", "Ready", "Setup", "ToWorker", "Told",
           "Undecodable", "Wants", "Work", "decode_from_worker", "encode"]  # fmt: skip


class _Message(msgspec.Struct, frozen=True, array_like=True):
    pass


class Setup(_Message, frozen=True, tag=0):
    """What a worker is for."""

    hook: str
    run: str
    """``package.module:attribute``"""
    import_path: list[str]
    options: bytes
    """Pickled: TOML has times, and MessagePack has no dates."""
    timeout_s: float
    batch: int
    """More than 1: calls get a list of at most so many records."""
    cpu_limit_s: float
    """For each call; 0: none."""
    level: int
    """Log lines below it are wanted by nobody; as in `logging`."""


class Work(_Message, frozen=True, tag=1):
    """Records to call the hook for."""

    attempt: int
    items: bytes
    """See `appliance.runtime.journal.codec`."""
    positions: list[int] | None
    """Of the records in all items together; None: every one."""


ToWorker = Setup | Work


class Ready(_Message, frozen=True, tag=0):
    """The hook is imported."""


class Broken(_Message, frozen=True, tag=1):
    """The hook cannot be imported."""

    error: str


class Failed(_Message, frozen=True, tag=2):
    """A call failed; the others were not told of, or ended well."""

    call: int
    """Number in this work, from 0."""
    failure: Failure


class Undecodable(_Message, frozen=True, tag=3):
    """A record is none."""

    call: int
    """Number in this work."""
    number: int
    """Of the record among those of the call."""


class Wants(_Message, frozen=True, tag=7):
    """What a call wants to have done, if it ended well."""

    call: int
    changes: Sequence[tuple[str, bytes, str, bytes, int | float]]
    """Space, key, and the fields of `Change`."""
    emitted: list[tuple[str, bytes]]
    """Log path and record, as JSON."""


class Done(_Message, frozen=True, tag=4):
    """The work ends."""

    calls: int
    """So many were made, from the first on."""
    durations_ns: list[int]
    """How long each of them took."""
    is_last: bool = False
    """The worker is of no further use and ends now."""


class Told(_Message, frozen=True, tag=5):
    """Something for the appliance that needs no answer."""

    what: str
    arguments: list[Any]


class Asked(_Message, frozen=True, tag=6):
    """Something for the appliance that a thread waits for. One question is open at a time."""

    what: str
    arguments: list[Any]


FromWorker = Ready | Broken | Failed | Undecodable | Wants | Done | Told | Asked


class Answer(_Message, frozen=True):
    """To what was asked."""

    value: Any = None
    error: str = ""
    """Why there is no value."""


encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def decode_from_worker(body: bytes) -> FromWorker:
    """A message of a worker.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise RemoteProtocolError(f"not a message of a worker: {exc}") from exc
