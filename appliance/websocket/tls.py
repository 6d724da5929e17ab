"""TLS to a WebSocket server: whom we believe, and what it means when the handshake fails."""

from __future__ import annotations

import ssl

from appliance.config import Websocket
from appliance.errors import ConfigError
from appliance.runtime.tls_words import explain, load_chain, read_first_line, words_of

__all__ = ["explain_tls", "make_context", "read_secret"]

_SPEAKS_PLAIN = 'the server does not speak TLS; write "ws://"'
_REFUSES_OURS = "the server does not accept our certificate"
_WANTS_OURS = "the server wants a certificate of us"
_NO_COMMON = (
    "no common cipher or version of TLS; Broker's own server without a certificate offers what nobody else speaks: "
    "give it one, or set Broker::disable_ssl"
)
_WORDS = {
    "WRONG_VERSION_NUMBER": _SPEAKS_PLAIN,
    "PACKET_LENGTH_TOO_LONG": _SPEAKS_PLAIN,
    "HTTP_REQUEST": _SPEAKS_PLAIN,
    "RECORD_LAYER_FAILURE": _SPEAKS_PLAIN,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_COMMON,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON,
    "TLSV1_ALERT_UNKNOWN_CA": f"{_REFUSES_OURS}: it knows another ca",
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_REFUSES_OURS}: it has expired",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_OURS,
}
"""OpenSSL's reasons in words."""


def make_context(table: Websocket) -> ssl.SSLContext:
    """Prepare TLS. Reads the files that the table names, on the spot.

    Raises:
        ConfigError: a file that cannot be read or is no such thing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not table.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif table.ca:
        try:
            context.load_verify_locations(table.ca)
        except OSError as exc:
            raise ConfigError(f"cannot use {table.ca}: {words_of(exc)}", key=_key(table, "ca")) from exc
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if table.certificate:
        load_chain(
            context,
            table.certificate,
            table.key,
            passphrase=read_secret(table, "passphrase_file"),
            key=_key(table, "certificate"),
            hint="is it PEM, and is passphrase_file right?",
        )
    return context


def read_secret(table: Websocket, key: str) -> bytes:
    """A secret out of the file that a key names; empty without one.

    Raises:
        ConfigError: it cannot be read.
    """
    return read_first_line(getattr(table, key), key=_key(table, key))


def _key(table: Websocket, key: str) -> str:
    return f"websocket.{table.name}.{key}"


def explain_tls(exc: ssl.SSLError) -> str:
    """Say in words what is behind a failure of TLS."""
    return explain(exc, _WORDS, who="server", closed='does it want "ws://"?')
