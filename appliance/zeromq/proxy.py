"""The proxy between the nodes of a ZeroMQ cluster, for sites where no Zeek manager runs it.

All the work is done in libzmq, in a thread that Python is not asked for. A node that does not read loses messages, and
nobody waits for it: Zeek's own proxy makes everybody wait (``listen_xpub_nodrop``).

Source: Zeek, ``src/cluster/backend/zeromq/ZeroMQ-Proxy.cc``; zmq_proxy(3).
"""

from __future__ import annotations

import msgspec
import structlog
import trio
import zmq

from appliance.config import ProxyPlan
from appliance.errors import ApplianceError

from .admission import Admission, read_key
from .endpoint import bind, is_public

__all__ = ["ClusterProxy", "ProxyFigures"]

log = structlog.get_logger("cluster")

HWM = 10_000
"""Messages for each node that wait while it does not read."""

Socket = zmq.Socket[bytes]


class ProxyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy at one moment."""

    read: str
    """As bound."""
    write: str
    refused: int
    """Connections whose key was another one."""


class ClusterProxy:
    """See the module. A service of the supervisor."""

    def __init__(self, plan: ProxyPlan) -> None:
        self.plan = plan
        self.read = self.write = ""
        self._admission: Admission | None = None
        self._stop_wanted = trio.Event()

    def statistics(self) -> ProxyFigures:
        refused = self._admission.refused if self._admission else 0
        return ProxyFigures(read=self.read, write=self.write, refused=refused)

    def stop(self) -> None:
        self._stop_wanted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        plan = self.plan
        secret = read_key(plan.secret_key_file) if plan.secret_key_file else b""
        if plan.client_public_key_file:
            self._admission = Admission(read_key(plan.client_public_key_file))
        context: zmq.Context[Socket] = zmq.Context()
        helper: Socket | None = None
        thread_ended = trio.Event()
        opened: list[Socket] = []
        try:
            helper = self._admission.open(context) if self._admission else None
            for kind, endpoint in ((zmq.XPUB, plan.read), (zmq.XSUB, plan.write)):
                opened.append(_open(context, kind, secret))
                bound = bind(opened[-1], endpoint)
                self.read, self.write = (bound, self.write) if kind == zmq.XPUB else (self.read, bound)
                if is_public(endpoint) and not secret:
                    log.warning("anybody who reaches this address is in the cluster", bind=endpoint)
        except BaseException:
            for each in opened:
                each.close()
            _close_helper(helper)
            context.term()
            raise

        async def forward(opened: list[Socket]) -> None:
            try:
                await trio.to_thread.run_sync(_forward, opened, limiter=trio.CapacityLimiter(1))
            finally:
                for each in opened:  # if it was cancelled before there was a thread
                    each.close()
            thread_ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(forward, opened)
            if self._admission is not None and helper is not None:
                nursery.start_soon(self._admission.run, helper)
            try:
                log.info("proxy is up", read=self.read, write=self.write)
                task_status.started()
                async with trio.open_nursery() as waiting:
                    waiting.start_soon(_wait_any, waiting.cancel_scope, self._stop_wanted)
                    waiting.start_soon(_wait_any, waiting.cancel_scope, thread_ended)
                if thread_ended.is_set():
                    raise ApplianceError("the proxy ended by itself")
            finally:
                _close_helper(helper)
                with trio.CancelScope(shield=True):
                    # The only way to wake the proxy; returns when the thread has closed its sockets.
                    await trio.to_thread.run_sync(context.term)
                self.read = self.write = ""
            nursery.cancel_scope.cancel()


async def _wait_any(scope: trio.CancelScope, event: trio.Event) -> None:
    await event.wait()
    scope.cancel()


def _open(context: zmq.Context[Socket], kind: int, secret: bytes) -> Socket:
    sock = context.socket(kind)
    sock.setsockopt(zmq.LINGER, 0)  # now, because it cannot be set when the context ends
    sock.setsockopt(zmq.SNDHWM, HWM)
    sock.setsockopt(zmq.RCVHWM, HWM)
    sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
    sock.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    sock.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
    sock.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    if kind == zmq.XPUB:
        sock.setsockopt(zmq.XPUB_VERBOSER, 1)  # every node hears of every beginning and every end
    if secret:
        sock.setsockopt(zmq.CURVE_SERVER, 1)
        sock.setsockopt(zmq.CURVE_SECRETKEY, secret)
    return sock


def _forward(opened: list[Socket]) -> None:
    """Pass on what comes until the context ends."""
    subscribers, publishers = opened
    try:
        zmq.proxy(publishers, subscribers)
    except zmq.ContextTerminated:
        return
    finally:
        for each in opened:
            each.close()


def _close_helper(helper: Socket | None) -> None:
    if helper is not None:
        trio.lowlevel.notify_closing(helper.fileno())
        helper.close(0)
