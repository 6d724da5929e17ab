"""TLS to a WebSocket server: whom we believe, and what it means when the handshake fails."""

from __future__ import annotations

import ssl
from pathlib import Path

from appliance.config import Websocket
from appliance.errors import ConfigError

__all__ = ["explain_tls", "make_context", "read_first_line"]

_LONGEST_LINE = 4096
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
            raise _mistake(table, "ca", f"cannot use {table.ca}: {_words_of(exc)}") from exc
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if table.certificate:
        passphrase = read_first_line(table, "passphrase_file")
        try:
            context.load_cert_chain(table.certificate, table.key, password=lambda: passphrase)
        except OSError as exc:
            told = f"cannot use {table.certificate} with {table.key}: {_words_of(exc)}"
            raise _mistake(table, "certificate", told, "is it PEM, and is passphrase_file right?") from exc
    return context


def read_first_line(table: Websocket, key: str) -> bytes:
    """A secret out of the file that a key names; empty without one. Never shown, whatever is wrong with it.

    Raises:
        ConfigError: it cannot be read.
    """
    path = getattr(table, key)
    if not path:
        return b""
    try:
        with Path(path).open("rb") as file:
            return file.readline(_LONGEST_LINE).rstrip(b"\r\n")
    except OSError as exc:
        raise _mistake(table, key, f"cannot read {path}: {exc.strerror}") from exc


def _mistake(table: Websocket, key: str, told: str, hint: str = "") -> ConfigError:
    return ConfigError(told, key=f"websocket.{table.name}.{key}", hint=hint)


def _words_of(exc: OSError) -> str:
    reason = getattr(exc, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else exc.strerror or str(exc)


def explain_tls(exc: ssl.SSLError) -> str:
    """Say in words what is behind a failure of TLS."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return 'the server closed the connection during the TLS handshake; does it want "ws://"?'
    return _WORDS.get(exc.reason or "", f"TLS failed: {_words_of(exc)}")
