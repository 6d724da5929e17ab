"""What a package holds, found out before anything runs: it is imported in a process of its own, as it will be later."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from appliance.native.child import spawn
from appliance.runtime.bundle import SITES_WORKER, program_argv, worker_environment
from appliance.runtime.children import describe_exit

from .messages import MAX_PACKET, Broken, Described, FromWorker, Setup
from .room import START_TIMEOUT_S

__all__ = ["describe_package"]

_LAST_WORDS = 65_536


def describe_package(setup: Setup) -> Described:
    """Import a package and say what it holds. Blocks for as long as its import takes.

    Raises:
        ValueError: it cannot be imported, or is no package of this kind; the text has file and line of the cause.
    """
    folder = Path(setup.package)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {setup.package!r}")
    if not (folder / "__init__.py").is_file():
        raise ValueError(f"{setup.package!r} is no package: it has no __init__.py")
    with ExitStack() as stack:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(near.close)
        stack.callback(far.close)
        printed = stack.enter_context(tempfile.TemporaryFile())
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, null)
        argv = program_argv(SITES_WORKER)
        descriptors = [null, printed.fileno(), printed.fileno(), far.fileno()]
        pid = spawn(argv[0], argv, environment=worker_environment(), descriptors=descriptors)
        answer: FromWorker | None = None
        try:
            far.close()
            near.settimeout(START_TIMEOUT_S)
            near.send(msgspec.json.encode(setup))
            if data := near.recv(MAX_PACKET):
                answer = msgspec.json.decode(data, type=FromWorker)
        except TimeoutError:
            raise ValueError(f"{setup.package!r} was not imported within {START_TIMEOUT_S:.0f} s") from None
        except (OSError, msgspec.MsgspecError):
            answer = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if isinstance(answer, Described):
            return answer
        if isinstance(answer, Broken):
            raise ValueError(answer.error)
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - _LAST_WORDS))
        words = printed.read().decode("utf-8", "backslashreplace")
        raise ValueError(f"the process that imports {setup.package!r} {describe_exit(code)}{_place(words, setup)}")


def _place(words: str, setup: Setup) -> str:
    """Where the package was when its process crashed: Python has written that down."""
    found = re.search(rf'File "({re.escape(setup.package)}/[^"]+)", line (\d+)', words)
    return f" ({found[1]}:{found[2]})" if found else ""
