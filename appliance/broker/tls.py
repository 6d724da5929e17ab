"""TLS on Broker's connections: its three modes, and what it means when a TLS handshake fails.

Whether there is TLS is not negotiated. Where two sides differ, one of them finds bytes that it cannot make sense of,
and OpenSSL's words for that help nobody.
"""

from __future__ import annotations

import ssl

from appliance.config import Broker
from appliance.errors import ConfigError
from appliance.runtime.tls_words import explain, load_chain, read_first_line, words_of

__all__ = ["TlsContexts", "explain_tls", "is_tls", "make_contexts"]

_ANONYMOUS = "AECDH-AES256-SHA@SECLEVEL=0"
_AUTHENTICATED = "HIGH:!aNULL:!MD5"  # codespell:ignore anull
_ALERT, _HANDSHAKE = 0x15, 0x16  # first bytes of TLS records, RFC 8446 section 5.1

_OTHER_SPEAKS_PLAIN = 'the peer does not speak TLS; is it set to tls = "off" (Broker::disable_ssl = T)?'
_OTHER_HAS_MODE = (
    'no common cipher: one side is set to tls = "anonymous" (no certificate), the other one to "mutual" (certificates)'
)
_OTHER_REFUSES_OURS = "the peer does not accept our certificate: it knows another ca"
_OTHER_HAS_NONE = "the peer presents no certificate"
_WORDS = {
    "WRONG_VERSION_NUMBER": _OTHER_SPEAKS_PLAIN,
    "PACKET_LENGTH_TOO_LONG": _OTHER_SPEAKS_PLAIN,
    "HTTP_REQUEST": _OTHER_SPEAKS_PLAIN,
    "RECORD_LAYER_FAILURE": _OTHER_SPEAKS_PLAIN,
    "UNEXPECTED_MESSAGE": _OTHER_SPEAKS_PLAIN,
    "NO_SHARED_CIPHER": _OTHER_HAS_MODE,
    "NO_CIPHERS_AVAILABLE": _OTHER_HAS_MODE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _OTHER_HAS_MODE,
    "UNSUPPORTED_PROTOCOL": _OTHER_HAS_MODE,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OTHER_HAS_MODE,
    "WRONG_SSL_VERSION": _OTHER_HAS_MODE,
    "TLSV1_ALERT_UNKNOWN_CA": _OTHER_REFUSES_OURS,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OTHER_REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OTHER_REFUSES_OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer does not accept our certificate: it has expired",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _OTHER_HAS_NONE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": 'the peer wants a certificate of us: it is set to tls = "mutual"',
}
"""OpenSSL's reasons in words."""


class TlsContexts:
    """What is needed at either end of a TLS connection.

    Args:
        client: for connections that we open.
        server: for those that we accept.
    """

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self.client = client
        self.server = server


def make_contexts(table: Broker) -> TlsContexts | None:
    """Prepare TLS; None if it is off. Reads the files that the table names, on the spot.

    Raises:
        ConfigError: a file that cannot be read or is no such thing, or a library without anonymous ciphers.

    Source: Broker, ``internal/connector.cc`` (the set-up of the context).
    """
    if table.tls == "off":
        return None
    make = _make_anonymous if table.tls == "anonymous" else _make_mutual
    return TlsContexts(make(table, is_server=False), make(table, is_server=True))


def _make_anonymous(table: Broker, *, is_server: bool) -> ssl.SSLContext:  # noqa: ARG001
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    if not is_server:
        context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # there are no anonymous ciphers in 1.3
    try:
        context.set_ciphers(_ANONYMOUS)
    except ssl.SSLError as exc:
        told = f'this TLS library ({ssl.OPENSSL_VERSION}) has no anonymous ciphers, which tls = "anonymous" needs'
        raise ConfigError(told, key="broker.tls", hint='use tls = "mutual" or "off"') from exc
    if is_server:
        context.set_ecdh_curve("secp384r1")
    return context


def _make_mutual(table: Broker, *, is_server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # as Broker: who has a certificate of this ca is a peer, wherever he is
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_AUTHENTICATED)
    load_chain(
        context,
        table.certificate,
        table.key,
        passphrase=read_first_line(table.passphrase_file, key="broker.passphrase_file"),
        key="broker.certificate",
        hint="is it PEM, and is passphrase_file right?",
    )
    try:
        context.load_verify_locations(table.ca)
    except OSError as exc:
        raise ConfigError(f"cannot use {table.ca}: {words_of(exc)}", key="broker.ca") from exc
    return context


def explain_tls(exc: ssl.SSLError) -> str:
    """Say in words what is behind a failure of TLS."""
    return explain(exc, _WORDS, who="peer", closed='is it set to tls = "off"?')


def is_tls(data: bytes) -> bool:
    """Whether the first bytes on a connection without TLS are TLS all the same."""
    return len(data) > 1 and data[0] in (_ALERT, _HANDSHAKE) and data[1] == 3
