"""The command line: parse, call, print. Every command imports what it needs when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from appliance.errors import ApplianceError, ConfigError
from appliance.runtime.bundle import settle_in

from .bundled import find_work

__all__ = ["main"]


def _leaves(exc: BaseException) -> list[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
    return [exc]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 success, 1 failure, 2 configuration or usage, 3 attention."""
    argv = sys.argv[1:] if argv is None else argv
    settle_in()
    work = find_work(argv)
    if work is not None:
        return work()
    from .extract_arguments import join_times
    from .parser import parse

    arguments = parse(join_times(argv))
    try:
        code = int(arguments.call(arguments))
        sys.stdout.flush()  # here, where a reader that has gone is no surprise, rather than at exit
        return code
    except (ApplianceError, ExceptionGroup) as exc:
        leaves = _leaves(exc)
        if not all(isinstance(leaf, ApplianceError) for leaf in leaves):
            raise
        for leaf in leaves:
            # A mistake in a file begins with the file, as compilers write it: editors jump there.
            has_place = isinstance(leaf, ConfigError) and leaf.file
            print(leaf if has_place else f"broappliance: {leaf}", file=sys.stderr)
        return 2 if any(isinstance(leaf, ConfigError) for leaf in leaves) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
