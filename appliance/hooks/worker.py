"""The worker process of hooks: ``python -m appliance.hooks.worker``, started by `appliance.hooks.process` only.

It imports one hook and calls it for what it is sent. It may hang, crash or be killed at any moment; whoever started it
knows how far it was. Starting time counts here: no event loop, no log library.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from appliance.model import Item, LogBatch
from appliance.runtime.environment import child_environment
from appliance.runtime.journal.codec import decode_items

from .callables import Context, HookCallable, load_callable
from .effects import Effects
from .failure import failure_of
from .filter import decode, records
from .link import CONNECTION, MEMORY, REPLIES, Link
from .messages import Broken, Done, Failed, Ready, Setup, Undecodable, Wants, Work
from .progress import TURN_S, Progress
from .remote import RemoteLog, RemotePublisher, remote_extract, remote_reader, remote_stores

__all__ = ["main"]

_EASY_VICTIM = b"500"
"""When the machine runs out of memory the kernel takes workers before the appliance."""

_Entry = tuple[Item, Any]
"""The item that a record is in, and what it is: a row of JSON, a record, or None."""


class Worker:
    """Calls one hook.

    Args:
        setup: what it is for.
        target: the hook.
        link: to the appliance.
        progress: where it writes how far it is.
    """

    def __init__(self, setup: Setup, target: HookCallable, link: Link, progress: Progress) -> None:
        self._setup = setup
        self._target = target
        self._link = link
        self._progress = progress
        self._pid = os.getpid()
        self._log = RemoteLog(link, setup.level)
        self._publisher = RemotePublisher(link)
        self._options = pickle.loads(setup.options)  # noqa: S301 - of the appliance itself
        self._cpu_end_s = 0

    def run(self) -> None:
        """Work until the appliance wants no more."""
        while size := self._link.wait_message():
            # From here on it may be of this that we die.
            self._progress.begin(0, time.monotonic_ns())
            work = self._link.receive(size)
            if not isinstance(work, Work):
                return
            done = self._work(work)
            self._link.send(done)
            if done.is_last:
                return

    def _work(self, work: Work) -> Done:
        """Make calls until the turn is over, but at least one."""
        until_ns = time.monotonic_ns() + int(TURN_S * 1e9)
        durations_ns: list[int] = []
        is_last = False
        for number, chunk in enumerate(self._chunks(work)):
            if self._setup.cpu_limit_s:
                self._limit_cpu()
            began_ns = time.monotonic_ns()
            self._progress.begin(number, began_ns)
            is_last = self._call(number, work.attempt, chunk)
            self._progress.end(number)
            now_ns = time.monotonic_ns()
            durations_ns.append(now_ns - began_ns)
            if is_last or now_ns >= until_ns:
                break
        return Done(len(durations_ns), durations_ns, is_last)

    def _chunks(self, work: Work) -> Iterator[Sequence[_Entry]]:
        entries: list[_Entry] = []
        for item in decode_items(work.items):
            found = item.rows() if isinstance(item, LogBatch) else records(item)
            entries += [(item, record) for record in found]
        if work.positions is not None:
            entries = [entries[position] for position in work.positions]
        size = self._setup.batch
        return (entries[begin : begin + size] for begin in range(0, len(entries), size))

    def _call(self, number: int, attempt: int, chunk: Sequence[_Entry]) -> bool:
        """Returns whether this was the last call that this process is good for."""
        try:
            found: list[Any] = []
            for place, (_, record) in enumerate(chunk):
                record = decode(record) if isinstance(record, bytes) else record
                if record is None:
                    self._link.send(Undecodable(number, place))
                else:
                    found.append(record)
            if found:
                argument = found if self._setup.batch > 1 else found[0]
                effects = Effects()
                takes = self._target.takes_context
                context = self._make_context(chunk[0][0], found, attempt, effects) if takes else None
                self._target.call(argument, context)
                self._want(number, effects)
        except BaseException as exc:  # noqa: BLE001 - whatever a hook raises is an outcome
            self._link.send(Failed(number, failure_of(exc)))
            # What leaks leaks on: the next call would fail as well.
            return isinstance(exc, MemoryError)
        finally:
            if os.getpid() != self._pid:
                os._exit(0)  # a child that the hook forked and let return
        return False

    def _want(self, number: int, effects: Effects) -> None:
        if effects.changes or effects.emitted:
            changes = [(*key, change.how, change.value, change.by) for key, change in effects.changes.items()]
            self._link.send(Wants(number, changes, effects.emitted))

    def _make_context(self, item: Item, records: Sequence[Any], attempt: int, effects: Effects) -> Context:
        return Context(
            item=item,
            attempt=attempt,
            deadline=time.monotonic() + self._setup.timeout_s,
            log=self._log,
            config=self._options,
            publish_event=self._publisher.publish_event,
            publish_to_pool=self._publisher.publish_to_pool,
            effects=effects,
            reader=remote_reader(self._link),
            find_store=remote_stores(self._link),
            records=records,
            extract=remote_extract(self._link),
        )

    def _limit_cpu(self) -> None:
        """Let this call use no more than its share; the kernel counts in whole seconds."""
        end_s = int(time.process_time() + self._setup.cpu_limit_s) + 1
        if end_s != self._cpu_end_s:
            self._cpu_end_s = end_s
            resource.setrlimit(resource.RLIMIT_CPU, (end_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _settle_in(setup: Setup) -> None:
    """Be a process of its own: what operators see, what others do to it, what its own children inherit."""
    environment = child_environment()
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_bytes(b"hook:" + setup.hook.encode())
        Path("/proc/self/oom_score_adj").write_bytes(_EASY_VICTIM)
    # The appliance ends its workers, after their calls; a service manager tells the whole group to end at once. A
    # handler, because what is ignored would be ignored by the programs that a hook starts.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    faulthandler.enable()
    sys.path[:] = setup.import_path


def main() -> int:
    """Be a worker on the descriptors that were inherited; returns the exit code."""
    link = Link(CONNECTION, REPLIES)
    progress = Progress(MEMORY)
    os.close(MEMORY)
    setup = link.receive(link.wait_message())
    if not isinstance(setup, Setup):
        return 0
    _settle_in(setup)
    try:
        target = load_callable(setup.run)
    except ValueError as exc:
        link.send(Broken(str(exc)))
        return 1
    link.send(Ready())
    Worker(setup, target, link, progress).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
