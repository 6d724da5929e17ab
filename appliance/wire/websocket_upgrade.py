"""From HTTP to WebSocket, as a client.

Source: RFC 6455 sections 4.1 and 4.2.2; RFC 9110 section 7.8.
"""

from __future__ import annotations

import base64
import hashlib
import re

import h11

from appliance.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["NONCE_BYTES", "Upgrade"]

NONCE_BYTES = 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_APPLICATION = re.compile(r"[-A-Za-z0-9/_.=:*@]{1,128}")
_HUNG_UP = "the server hung up before it answered"
_MAX_HEADERS = 16384
"""Bytes of the answer, as h11 limits them by default."""


class Upgrade:
    """One attempt.

    Args:
        host: what the Host header says.
        target: the path, ``/v1/messages/json`` for Zeek.
        nonce: 16 unpredictable bytes.
        application: ``X-Application-Name``; Zeek 8.0 and later write it into their logs. Empty: none.
        authorization: a header's value for a proxy in front of Zeek, which itself asks for none.

    Raises:
        LocalProtocolError: something that cannot be in a request, or a name that Zeek refuses.
    """

    def __init__(self, *, host: str, target: str, nonce: bytes, application: str = "", authorization: str = "") -> None:
        if application and not _APPLICATION.fullmatch(application):
            raise LocalProtocolError(f"{application[:40]!r} is not a name of an application for Zeek")
        self._key = base64.b64encode(nonce)
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEADERS)
        headers = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key.decode()),
            ("Sec-WebSocket-Version", "13"),
        ]
        if application:
            headers.append(("X-Application-Name", application))
        if authorization:
            headers.append(("Authorization", authorization))
        try:
            request = h11.Request(method="GET", target=target, headers=headers)
            head, end = self._connection.send(request), self._connection.send(h11.EndOfMessage())
            self.request = (head or b"") + (end or b"")
            """What to send."""
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise LocalProtocolError(f"not a request: {exc}") from exc

    def receive(self, data: bytes) -> bytes | None:
        """Take what came, ``b""`` at the end of the connection.

        Returns:
            What came behind the answer, or None if more of it is needed.

        Raises:
            RemoteProtocolError: the server does not speak WebSocket here.
        """
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                    self._check(event)
                    return self._connection.trailing_data[0]
                if isinstance(event, h11.Response):
                    raise RemoteProtocolError(f"the server answers {event.status_code} instead of 101")
                if not isinstance(event, h11.InformationalResponse):
                    raise RemoteProtocolError(_HUNG_UP)
        except h11.RemoteProtocolError as exc:
            if not data:
                raise RemoteProtocolError(_HUNG_UP) from exc
            raise RemoteProtocolError(f"the server does not answer in HTTP: {exc}") from exc

    def _check(self, answer: h11.InformationalResponse) -> None:
        headers = {bytes(name): bytes(value) for name, value in answer.headers}
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest())
        connection = {token.strip().lower() for token in headers.get(b"connection", b"").split(b",")}
        if headers.get(b"upgrade", b"").lower() != b"websocket" or b"upgrade" not in connection:
            raise RemoteProtocolError("the server upgrades to something else than WebSocket")
        if headers.get(b"sec-websocket-accept") != accept:
            raise RemoteProtocolError("the server's answer is to another request")
        if b"sec-websocket-extensions" in headers or b"sec-websocket-protocol" in headers:
            raise RemoteProtocolError("the server chose an extension that nobody offered")
