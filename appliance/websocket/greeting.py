"""From an address to a session whose topics are acknowledged."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from zoneinfo import ZoneInfo

import msgspec
import trio

from appliance import __version__
from appliance.config import Websocket
from appliance.config.urls import WebsocketUrl, parse_websocket_url
from appliance.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from appliance.runtime import streams
from appliance.runtime.streams import Stream, dial, why_broken
from appliance.runtime.tls_stream import TlsStream
from appliance.wire.websocket import Closed, Ignored, Refused, SessionState, WebsocketSession
from appliance.wire.websocket_messages import Ack

from .tls import explain_tls, make_context, read_secret

__all__ = ["READ_BYTES", "Access", "Greeted", "Unwelcome", "greet", "make_access"]

receive = partial(streams.receive, explain=explain_tls)
send = partial(streams.send, explain=explain_tls)
READ_BYTES = 64 << 10
"""At most so much is read before others have their turn: a few hundred events, about ten milliseconds."""
_HEADER_VALUE = re.compile(rb"(?:[!-~](?:[ -~]*[!-~])?)?")
_FAREWELL_S = 1.0
"""How long a server may take to hear that we do not stay."""


class Unwelcome(Exception):  # noqa: N818 - no session came about; that is no error of the program
    """Nobody acknowledged our topics; the text says why."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is reached."""

    url: WebsocketUrl
    context: ssl.SSLContext | None
    """None: without TLS."""
    server_name: str
    authorization: str


class Greeted(msgspec.Struct, frozen=True, kw_only=True):
    """A connection whose topics are acknowledged. What the server sent behind that is in the session."""

    stream: Stream
    session: WebsocketSession
    ack: Ack


def make_access(table: Websocket) -> Access:
    """Read what a table names.

    Raises:
        ConfigError: a file that cannot be read or is no such thing.
    """
    url = parse_websocket_url(table.url)
    authorization = read_secret(table, "authorization_file")
    if not _HEADER_VALUE.fullmatch(authorization):
        told = f"the first line of {table.authorization_file} cannot be in a header"
        raise ConfigError(told, key=f"websocket.{table.name}.authorization_file")
    return Access(
        url=url,
        context=make_context(table) if url.is_tls else None,
        server_name=table.server_name or url.host,
        authorization=authorization.decode(),
    )


async def greet(
    table: Websocket, access: Access, topics: Sequence[str], *, ignored: Callable[[Ignored], object]
) -> Greeted:
    """Connect, upgrade, send the topics and wait for the acknowledgement.

    Args:
        table: of time-outs, and what we call ourselves.
        ignored: told of messages that make no sense.

    Raises:
        Unwelcome: that was not possible.
    """
    try:
        session = _make_session(table, access, topics)
    except LocalProtocolError as exc:
        raise Unwelcome(str(exc)) from exc
    stream: Stream | None = None
    try:
        with trio.move_on_after(table.connect_timeout.seconds):
            stream = await _connect(access)
            await _upgrade(stream, session)
        if stream is None or session.state is SessionState.UPGRADING:
            raise Unwelcome(f"no answer within {table.connect_timeout}")
        ack: Ack | None = None
        with trio.move_on_after(table.ack_timeout.seconds):
            ack = await _wait_acknowledged(stream, session, ignored)
        if ack is None:
            await _say_goodbye(stream, session)
            raise Unwelcome(f"our topics were not acknowledged within {table.ack_timeout}")
    except RemoteProtocolError as exc:
        raise Unwelcome(str(exc)) from exc
    else:
        greeted = Greeted(stream=stream, session=session, ack=ack)
        stream = None
        return greeted
    finally:
        if stream is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


def _make_session(table: Websocket, access: Access, topics: Sequence[str]) -> WebsocketSession:
    return WebsocketSession(
        topics,
        host=access.url.authority,
        entropy=os.urandom,
        application=table.application or f"broappliance/{__version__}",
        target=access.url.target,
        authorization=access.authorization,
        zone=None if table.time_zone == "UTC" else ZoneInfo(table.time_zone),
        max_message=int(table.max_message),
    )


async def _connect(access: Access) -> Stream:
    try:
        transport = await dial(access.url.host, access.url.port)
    except OSError as exc:
        raise Unwelcome(f"cannot connect: {exc}") from exc
    if access.context is None:
        return transport
    stream = TlsStream(transport, access.context, is_server=False, server_name=access.server_name)
    try:
        await stream.do_handshake()
    except BaseException as exc:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(transport)
        if isinstance(exc, ssl.SSLError | trio.BrokenResourceError):
            raise Unwelcome(explain_tls(exc) if isinstance(exc, ssl.SSLError) else why_broken(exc)) from exc
        raise
    return stream


async def _upgrade(stream: Stream, session: WebsocketSession) -> None:
    await send(stream, session.data_to_send())
    while session.state is SessionState.UPGRADING:
        session.receive_data(await receive(stream, READ_BYTES))


async def _wait_acknowledged(stream: Stream, session: WebsocketSession, ignored: Callable[[Ignored], object]) -> Ack:
    while True:
        try:
            # Only up to the acknowledgement: what is behind it is for whoever takes the session over.
            while (event := session.next_event()) is not None:
                match event:
                    case Ack():
                        await send(stream, session.data_to_send())
                        return event
                    case Ignored():
                        ignored(event)
                    case Refused(code, context):
                        raise Unwelcome(f"the server refuses our topics: {code}: {context}")
                    case Closed(code, reason):
                        raise Unwelcome(f"the server said goodbye: {code} {reason}".rstrip())
        except (Unwelcome, RemoteProtocolError):
            await _say_goodbye(stream, session)
            raise
        await send(stream, session.data_to_send())
        session.receive_data(await receive(stream, READ_BYTES))


async def _say_goodbye(stream: Stream, session: WebsocketSession) -> None:
    session.close()
    with trio.move_on_after(_FAREWELL_S), suppress(RemoteProtocolError):
        await send(stream, session.data_to_send())
