"""From a connected stream to requests: TLS, HTTP, the gate, the table."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from hypercorn.trio.worker_context import WorkerContext

from .application import make_application, with_openapi
from .connection import Connection, make_config
from .exchange import Answer
from .gate import Gate
from .pool import Pool
from .roles import Identity
from .table import Endpoint

__all__ = ["Works"]


class Works:
    """See the module.

    Args:
        endpoints: the table.
        hosts, identify, counted: as `Gate` takes them.
        idle_s: how long a connection may take to bring a request.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        hosts: frozenset[str],
        identify: Callable[[Mapping[str, Any], Mapping[str, str]], Identity | Answer],
        counted: Callable[[], None],
        idle_s: float,
    ) -> None:
        app = make_application(with_openapi(endpoints))
        self._gate = Gate(app, hosts=hosts, identify=identify, counted=counted)
        self._config = make_config(idle_s)
        self._idle_s = idle_s

    async def serve(
        self, stream: trio.SocketStream, context: ssl.SSLContext | None, peer: Identity, pool: Pool
    ) -> None:
        """Serve a connection to its end, and close it.

        Args:
            stream: just accepted.
            context: of TLS; None: there is none.
            peer: who it is, as far as the connection tells.
            pool: has a place for it.
        """
        secured: trio.abc.Stream = stream
        if context is not None:
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        made = Connection(
            self._gate, self._config, WorkerContext(None), secured, state={"peer": peer}, is_tls=context is not None
        )
        with pool.may_be_cut(made):
            if isinstance(secured, trio.SSLStream):
                with trio.move_on_after(self._idle_s) as patience:
                    try:
                        await secured.do_handshake()
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        return
                if patience.cancelled_caught:
                    return
            await made.run()
