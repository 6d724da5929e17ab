"""The program as one bundle that is its own interpreter, and how it starts itself once more in either form."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping

from .environment import child_environment, without_bundle

__all__ = ["HOOK_WORKER", "SITES_WORKER", "WORKERS", "is_bundled", "program_argv", "settle_in", "worker_environment"]

HOOK_WORKER, SITES_WORKER = "appliance.hooks.worker", "appliance.hooks.sites.worker"
"""The modules that are programs: the worker process of a hook, and of a package of them."""
WORKERS = {"--hook-worker": HOOK_WORKER, "--sites-worker": SITES_WORKER}
"""The argument that makes a bundle one of them; nobody else gives it."""
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
"""Of Debian, Red Hat, SUSE and what has come from them."""


def is_bundled() -> bool:
    """Whether there is no interpreter but this program."""
    return bool(getattr(sys, "frozen", False))


def settle_in() -> None:
    """Make a bundle what an installed program is to the code and the programs that hooks run; else nothing happens.

    Its own variables go, so that a program that a hook starts loads the machine's libraries. Modules of hooks are
    compiled once, not at every start. The TLS library is told where this machine has its certificates; it knows where
    the builder's were.
    """
    if not is_bundled():
        return
    _take_variables()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        found = next(filter(os.path.exists, _CERTIFICATES), None)
        if found is not None:
            os.environ["SSL_CERT_FILE"] = found


@functools.cache
def _take_variables() -> Mapping[str, str]:
    """What the bundle finds itself by; from the first call on it is no longer in the environment."""
    before = dict(os.environ)
    cleaned = without_bundle(before)
    os.environ.clear()
    os.environ.update(cleaned)
    return {name: value for name, value in before.items() if cleaned.get(name) != value}


def program_argv(module: str = "appliance") -> list[str]:
    """What starts the appliance, which takes further arguments, or one of `WORKERS`, which does not."""
    if is_bundled():
        return [sys.executable, *(argument for argument, worker in WORKERS.items() if worker == module)]
    return [sys.executable, "-P", "-m", module]


def worker_environment() -> dict[str, str]:
    """All variables for a worker: `child_environment`, and what a bundle finds itself by."""
    return {**child_environment(), **(_take_variables() if is_bundled() else {})}
