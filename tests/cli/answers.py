"""A server with prepared answers, on a Unix socket or a TCP port."""

from __future__ import annotations

import json
import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer, ThreadingUnixStreamServer
from types import TracebackType
from typing import Any, Self

__all__ = ["Answers"]


class Answers:
    """Gives answers by method and path, one after the other; the last one stays. Status 0: it hangs up.

    Args:
        path: of its Unix socket; None: a port of 127.0.0.1.
        tls: what it speaks.
    """

    def __init__(self, path: Path | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.path = path
        self.answers: dict[str, list[tuple[int, Any]]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = f"{self.command} {self.path.partition('?')[0]}"
                self.rfile.read(int(self.headers.get("Content-Length", "0")))  # else closing would be a reset
                outer.asked.append(name)
                outer.headers.append({key.lower(): value for key, value in self.headers.items()})
                answers = outer.answers[name]
                status, document = answers.pop(0) if len(answers) > 1 else answers[0]
                if not status:
                    return
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.do_GET()

            def do_DELETE(self) -> None:
                self.do_GET()

            def address_string(self) -> str:
                return "somebody"

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server: ThreadingTCPServer | ThreadingUnixStreamServer
        if path is not None:
            self._server = ThreadingUnixStreamServer(os.fspath(path), Handler)
        else:
            self._server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
            if tls is not None:
                self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        # A client that does not trust us hangs up, which is nothing to be printed.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.socket.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
