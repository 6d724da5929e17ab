"""Where a running appliance is asked: a Unix socket here, or an URL with a token somewhere else.

What the arguments do not say, the environment may: ``BROAPPLIANCE_URL``, ``BROAPPLIANCE_SOCKET``,
``BROAPPLIANCE_TOKEN_FILE``, ``BROAPPLIANCE_TOKEN``, ``BROAPPLIANCE_CA``.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import os
import socket
import ssl
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from appliance.errors import ApplianceError, ConfigError

__all__ = ["DEFAULT_SOCKET", "Endpoint", "NoAnswerError", "find_endpoint"]

DEFAULT_SOCKET = Path("/run/broappliance/api.sock")
_START = "start one with 'broappliance --config FILE' or 'systemctl start broappliance'"
_OF_FILE = "[api] listen of "
_MOVED = "if the file has moved [api] listen since it was read, name the old place with --socket PATH or --url URL"
_ELSEWHERE = "say where one runs with --config FILE, --socket PATH or --url URL"


class NoAnswerError(ApplianceError):
    """There is nobody to be asked."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


@dataclass(frozen=True)
class Endpoint:
    """A place, and what it takes to be let in."""

    path: Path | None = None
    """Of the Unix socket; None: there is `url`."""
    url: str = ""
    """``http://HOST:PORT`` or ``https://HOST:PORT``."""
    token: str = ""
    ca: str = ""
    """File with the certificates of who may have signed the server's; empty: the system's."""
    said: str = ""
    """Who says that it is there: ``--socket``, ``the default``; for hints."""

    def __str__(self) -> str:
        return os.fspath(self.path) if self.path is not None else self.url

    @property
    def headers(self) -> dict[str, str]:
        """What every request has."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that is not open yet.

        Raises:
            ConfigError: the certificates cannot be used.
        """
        if self.path is not None:
            return _UnixConnection(self.path, timeout_s)
        parts = urlsplit(self.url)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_s)
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"--ca {self.ca}: {exc.strerror or exc}") from exc
        return http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, timeout=timeout_s, context=context)

    def explain(self, exc: Exception) -> ApplianceError:
        """What it means that no connection could be made, or that it broke."""
        if isinstance(exc, PermissionError) and self.path is not None:
            return _explain_denial(self.path)
        if isinstance(exc, ssl.SSLCertVerificationError):
            hint = "name who signed it with --ca FILE"
            return ApplianceError(f"the certificate of {self} is not trusted: {exc.verify_message}", hint=hint)
        if isinstance(exc, ValueError):
            return ApplianceError(f"{self} answered with something that is no document", hint="who listens there?")
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        told = f"no appliance answers at {self}: {reason}"
        if isinstance(exc, FileNotFoundError):
            if self.said.startswith(_OF_FILE):
                return NoAnswerError(told, hint=f"{_START}; {_MOVED}")
            place = f"{self} is {self.said}; " if self.said == "the default" else ""
            return NoAnswerError(told, hint=f"{place}{_START}, or {_ELSEWHERE}")
        if isinstance(exc, ConnectionRefusedError):
            hint = f"the last one ended without removing it; {_START}" if self.path else "is this its [api] listen?"
            return NoAnswerError(told, hint=hint)
        if isinstance(exc, TimeoutError):
            return ApplianceError(told, hint="it is stuck, or somebody else listens there; its log may say more")
        if isinstance(exc, http.client.RemoteDisconnected) and self.url.startswith("http:"):
            return ApplianceError(told, hint="does it have a certificate? then it is https://")
        return ApplianceError(told, hint="is it running, and is this its [api] listen?")


def _explain_denial(path: Path) -> ApplianceError:
    """Which file keeps us out, whose it is, and which group would let us in."""
    import grp
    import pwd

    closed = next((each for each in reversed(path.parents) if not os.access(each, os.X_OK, effective_ids=True)), path)
    try:
        found = closed.stat()
    except OSError:
        return ApplianceError(f"access to {path} is denied", hint="try sudo")
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    try:
        me = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        me = str(os.geteuid())
    wanted = 0o10 if closed is not path else 0o20
    if found.st_mode & wanted and group != "root":
        hint = f"its group is let in: 'usermod -aG {group} {me}' and log in again, or use sudo"
    else:
        hint = f"only {owner} is let in: use sudo"
    told = f"access to {path} is denied to {me}: {closed} belongs to {owner}, group {group}"
    return ApplianceError(told, hint=hint)


# ── which one is meant ──


def find_endpoint(arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint that the arguments mean, or else the environment, or else the default.

    Raises:
        ExceptionGroup: the configuration file has mistakes.
        ConfigError: an URL that is none, a token that cannot be read.
        NoAnswerError: the file asks for no endpoint.
    """
    path: Path | None = getattr(arguments, "socket", None)
    url: str | None = getattr(arguments, "url", None)
    config: Path | None = getattr(arguments, "config", None)
    if path is not None:
        return Endpoint(path=path, said="--socket")
    if url is not None:
        return _remote(url, "--url", arguments, environ)
    if config is not None:
        listen = _listen(config)
        if listen.startswith("unix:"):
            return Endpoint(path=Path(listen.removeprefix("unix:")), said=f"{_OF_FILE}{config}")
        return _remote(listen, f"{_OF_FILE}{config}", arguments, environ)
    if environ.get("BROAPPLIANCE_URL"):
        return _remote(environ["BROAPPLIANCE_URL"], "$BROAPPLIANCE_URL", arguments, environ)
    if environ.get("BROAPPLIANCE_SOCKET"):
        return Endpoint(path=Path(environ["BROAPPLIANCE_SOCKET"]), said="$BROAPPLIANCE_SOCKET")
    return Endpoint(path=DEFAULT_SOCKET, said="the default")


def _listen(config: Path) -> str:
    """Where the appliance of a file listens: ``unix:PATH`` or an URL. A file with mistakes is read as far as it can be:
    the appliance runs with what it was before. If the file names another place now, its ``state_dir`` knows the one
    that counts until it is read again.
    """
    from appliance.config import load

    try:
        loaded = load(config)
    except ExceptionGroup:
        salvaged = _salvage(config)
        if salvaged is None:
            raise
        print(f"broappliance: {config} has mistakes, see broappliance --config {config} --check", file=sys.stderr)
        listen, state_dir = salvaged
        return _served(listen, state_dir) or listen[0]
    api = loaded.config.api
    if found := _served(api.listen, loaded.config.appliance.state_dir):
        return found
    if not api.listen:
        raise NoAnswerError(f"{config} has an empty [api] listen: its appliance cannot be asked")
    for address in api.listen:
        if address.startswith("unix:"):
            return address
    host, _, port = api.listen[0].rpartition(":")
    here = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    return f"{'https' if getattr(api, 'certificate', '') else 'http'}://{here}:{port}"


def _served(listen: Sequence[str], state_dir: str | Path) -> str:
    """The Unix socket that the appliance of a folder serves, as far as it has told and we may know; of several the one
    that is listed first in a file, else the first.
    """
    from appliance.config.paths import SOCKETS_FILE

    try:
        told = [f"unix:{path}" for path in Path(state_dir, SOCKETS_FILE).read_text().splitlines()]
    except (OSError, ValueError):
        return ""
    return next((address for address in listen if address in told), told[0] if told else "")


def _salvage(config: Path) -> tuple[list[str], Path] | None:
    """The first Unix socket with an absolute path in [api] listen, and the state_dir, as far as the file is TOML."""
    try:
        document = tomllib.loads(config.read_text())
        api, appliance = document.get("api", {}), document.get("appliance", {})
        listen = api.get("listen", [f"unix:{DEFAULT_SOCKET}"])
        folder = config.absolute().parent / str(appliance.get("state_dir", "/var/lib/broappliance"))
        found = next(each for each in listen if each.startswith("unix:") and "${" not in f"{each}{folder}")
    except (OSError, ValueError, AttributeError, TypeError, StopIteration):
        return None
    if "include" in document and "api" not in document:
        return None
    return [f"unix:{folder / found.removeprefix('unix:')}"], folder


def _remote(url: str, said: str, arguments: argparse.Namespace, environ: Mapping[str, str]) -> Endpoint:
    parts = urlsplit(url)
    try:
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{said}: {url!r} is not of the form https://HOST:PORT or http://HOST:PORT")
    token = _token(arguments, environ)
    if token and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ConfigError(
            f"{said}: a token is not sent over {url}, where everybody on the way can read it", hint="use https"
        )
    ca = getattr(arguments, "ca", None) or environ.get("BROAPPLIANCE_CA", "")
    return Endpoint(url=f"{parts.scheme}://{parts.netloc}", token=token, ca=os.fspath(ca), said=said)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(arguments: argparse.Namespace, environ: Mapping[str, str]) -> str:
    given = getattr(arguments, "token_file", None)
    said, name = (
        ("--token-file", given) if given else ("$BROAPPLIANCE_TOKEN_FILE", environ.get("BROAPPLIANCE_TOKEN_FILE"))
    )
    if name:
        try:
            token = Path(name).read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{said} {name}: {getattr(exc, 'strerror', None) or 'is no text'}") from exc
    else:
        said, token = "$BROAPPLIANCE_TOKEN", environ.get("BROAPPLIANCE_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"{said}: expected one token and nothing else")
    return token
