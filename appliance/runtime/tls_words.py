"""What the users of TLS share: secrets and certificates out of files, and OpenSSL's failures in words."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from appliance.errors import ConfigError

__all__ = ["explain", "load_chain", "read_first_line", "words_of"]

_LONGEST_LINE = 4096


def words_of(exc: OSError) -> str:
    """OpenSSL's reason, or what the system says."""
    reason = getattr(exc, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else exc.strerror or str(exc)


def explain(exc: ssl.SSLError, words: Mapping[str, str], *, who: str, closed: str) -> str:
    """Say in words what is behind a failed handshake.

    Args:
        exc: the failure.
        words: OpenSSL's reasons in words. The version of the library decides which of several it gives.
        who: is at the other end.
        closed: what it may mean that he closed the connection.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the {who}'s certificate is not accepted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"the {who} closed the connection during the TLS handshake; {closed}"
    return words.get(exc.reason or "", f"TLS failed: {words_of(exc)}")


def read_first_line(path: str, *, key: str) -> bytes:
    """A secret out of a file; empty without one. Never shown, whatever is wrong with it.

    Args:
        path: of the file; empty: there is none.
        key: names it in the configuration.

    Raises:
        ConfigError: it cannot be read.
    """
    if not path:
        return b""
    try:
        with Path(path).open("rb") as file:
            return file.readline(_LONGEST_LINE).rstrip(b"\r\n")
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}", key=key) from exc


def load_chain(
    context: ssl.SSLContext, certificate: str, private_key: str, *, passphrase: bytes, key: str, hint: str
) -> None:
    """Put our certificate into a context. Without a passphrase OpenSSL would ask on the terminal: so it gets an empty
    one.

    Args:
        context: gets it.
        certificate, private_key: files; an empty `private_key` is that of the certificate.
        passphrase: of the private key.
        key: names the certificate in the configuration.
        hint: for failures that OpenSSL gives no reason for: a wrong passphrase is one, a file that is no PEM another.

    Raises:
        ConfigError: a file cannot be read or is no such thing.
    """
    try:
        context.load_cert_chain(certificate, private_key or None, password=lambda: passphrase)
    except OSError as exc:
        told = f"cannot use {certificate} with {private_key}: {words_of(exc)}"
        is_silent = isinstance(exc, ssl.SSLError) and not exc.reason
        raise ConfigError(told, key=key, hint=hint if is_silent else "") from exc
