"""``broappliance hooks``: queues and dead letters of a running appliance over its socket; at rest, only to look at."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from appliance.errors import ApplianceError, ConfigError

from .client import NoAnswerError, ask, find_endpoint, refusal

__all__ = ["call_failed", "call_list", "call_purge", "call_retry", "call_show"]

PATH = "/v1/hooks"
PATIENCE_S = 70.0
"""The appliance gives up before that."""


def _ask(arguments: argparse.Namespace, method: str, target: str, body: Any = None) -> Any:
    """The answer; what is no success is raised in the appliance's words."""
    socket = find_endpoint(arguments)
    status, document = ask(socket, method, target, body, timeout_s=PATIENCE_S)
    if status == 200:
        return document
    raise refusal(socket, status, document)


@contextmanager
def _at_rest(arguments: argparse.Namespace, cause: NoAnswerError) -> Iterator[Any]:
    """The journal of an appliance that gives no answer.

    Raises:
        ApplianceError: it has no journal, it runs, or nobody said where it is.
    """
    if arguments.config is None:
        raise cause
    from appliance.config import load
    from appliance.runtime.journal.desk import open_stopped
    from appliance.runtime.journal.schema import DamagedError
    from appliance.runtime.queues import JOURNAL

    path = Path(load(arguments.config).config.appliance.state_dir) / JOURNAL
    try:
        with open_stopped(path) as desk:
            yield desk
    except FileNotFoundError:
        raise ApplianceError(f"no appliance answers, and there is no journal at {path}") from cause
    except DamagedError as exc:
        hint = "the appliance repairs it when it starts"
        raise ApplianceError(f"the journal {path} is damaged: {exc}", hint=hint) from exc
    except OSError as exc:
        raise ApplianceError(f"the journal {path} cannot be read: {exc.strerror or exc}") from exc


# ── list ──


def call_list(arguments: argparse.Namespace) -> int:
    """Print what waits for each hook."""
    try:
        document = _ask(arguments, "GET", PATH)
    except NoAnswerError as exc:
        with _at_rest(arguments, exc) as desk:
            document = _list_at_rest(desk)
    if arguments.json:
        print(json.dumps(document, indent=2))
        return 0
    from .tables import make_console, make_table

    table = make_table(
        "hooks", "hook!", "state!", "waiting>", "leased>", "retrying>", "oldest>", "running>", "done>", "failed>",
        "retried>", "dead>", "median>", "slowest 1 %>",
    )  # fmt: skip
    for hook in document["hooks"]:
        queue, figures = hook["queue"] or {}, hook["figures"] or {}
        oldest = queue.get("oldest_s")
        durations = figures.get("durations")
        table.add_row(
            hook["name"],
            hook["state"],
            *(f"{number:,}" for number in (hook["waiting"], queue.get("leased", 0), hook["retrying"])),
            f"{oldest:,.1f} s" if oldest is not None else "",
            *(f"{figures.get(key, 0):,}" for key in ("running", "done", "failed")),
            f"{queue.get('retried', 0):,}",
            f"{hook['dead']:,}",
            _quantile(durations, 0.5),
            _quantile(durations, 0.99),
        )
    make_console().print(table)
    return 0


def _list_at_rest(desk: Any) -> dict[str, Any]:
    from appliance.runtime.journal.entries import LetterFigures

    letters: LetterFigures = desk.statistics()
    return {
        "hooks": [
            {
                "name": each.hook, "state": "stopped", "waiting": each.waiting, "retrying": each.retrying,
                "dead": each.dead, "queue": None, "figures": None,
            }
            for each in desk.backlogs()
        ],
        "dead_letters": {"dead": letters.dead, "dead_size": letters.dead_size, "forgotten": letters.forgotten},
    }  # fmt: skip


def _quantile(durations: dict[str, Any] | None, share: float) -> str:
    """The bound of the bucket in which that share of the calls has ended."""
    if durations is None or not (total := sum(durations["counts"])):
        return ""
    bounds = durations["bounds_s"]
    seen = 0
    for bound, count in zip(bounds, durations["counts"], strict=False):
        seen += count
        if seen >= share * total:
            return f"< {1000 * bound:g} ms" if bound < 1 else f"< {bound:g} s"
    return f"> {bounds[-1]:g} s"


# ── failed, show ──


def call_failed(arguments: argparse.Namespace) -> int:
    """Print dead letters; 3 if there are any."""
    if not 0 < arguments.limit <= 1000 or arguments.after < 0:
        raise ConfigError("--limit is from 1 to 1000, --after not negative")
    fields = {"after": arguments.after, "limit": arguments.limit}
    if arguments.hook is not None:
        fields["hook"] = arguments.hook
    try:
        letters = _ask(arguments, "GET", f"{PATH}/dead?{urlencode(fields)}")["letters"]
    except NoAnswerError as exc:
        from appliance.runtime.journal.documents import short_document

        with _at_rest(arguments, exc) as desk:
            found = desk.dead(arguments.hook, after=arguments.after, limit=arguments.limit)
            letters = [short_document(letter) for letter in found]
    if arguments.json:
        print(json.dumps(letters, indent=2))
    else:
        _print_letters(letters)
    return 3 if letters else 0


def _print_letters(letters: list[dict[str, Any]]) -> None:
    from .tables import make_console, make_table

    if not letters:
        print("no dead letters")
        return
    from rich.text import Text

    table = make_table("dead letters", "id>", "hook!", "item!", "attempts>", "last attempt!", "reason!", "error")
    for letter in letters:
        table.add_row(
            str(letter["id"]), letter["hook"], f"{letter['kind']}:{letter['name']}", str(letter["attempts"]),
            _time(letter["last_ns"]), letter["reason"], Text(letter["error"]),
        )  # fmt: skip
    make_console().print(table)


def _time(ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ns // 10**9))


def call_show(arguments: argparse.Namespace) -> int:
    """Print one dead letter."""
    try:
        letter = _ask(arguments, "GET", f"{PATH}/dead/{arguments.id}")
    except NoAnswerError as exc:
        from appliance.runtime.journal.documents import full_document
        from appliance.zeek.plain import plain_record

        with _at_rest(arguments, exc) as desk:
            found = desk.show(arguments.id)
            if found is None:
                raise ApplianceError(f"there is no dead letter {arguments.id}") from None
            letter = json.loads(_dumps(full_document(found, plain_record(found.item))))
    if arguments.json:
        print(json.dumps(letter, indent=2))
        return 0
    print(f"{letter['id']}  hook {letter['hook']}  {letter['kind']}:{letter['name']}  from {letter['source']}")
    for attempt in letter["history"]:
        print(f"  attempt {attempt['number']}  {_time(attempt['at_ns'])}  {attempt['reason']}  {attempt['error']}")
    if letter["trace"]:
        print(letter["trace"].rstrip())
    print("it cannot be decoded" if letter["record"] is None else json.dumps(letter["record"], indent=2))
    return 0


def _dumps(document: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(document)


# ── retry, purge ──


def call_retry(arguments: argparse.Namespace) -> int:
    """Try dead letters again."""
    return _change(arguments, "retry", "to be tried again")


def call_purge(arguments: argparse.Namespace) -> int:
    """Delete dead letters, or what waits for a hook that is gone."""
    return _change(arguments, "purge", "deleted")


def _change(arguments: argparse.Namespace, verb: str, told: str) -> int:
    """Returns 1 if some of the letters that were named are no dead letters any more."""
    ids, waiting = sorted(set(arguments.id)), getattr(arguments, "waiting", False)
    if bool(ids) + (arguments.hook is not None) + arguments.all != 1:
        raise ConfigError("say which: some ids, --hook NAME, or --all")
    if waiting and arguments.hook is None:
        raise ConfigError("--waiting goes with --hook NAME")
    body: dict[str, Any] = {"ids": ids} if ids else {"all": True} if arguments.all else {"hook": arguments.hook}
    count = _ask(arguments, "POST", f"{PATH}/{verb}", {**body, **({"waiting": True} if waiting else {})})["count"]
    if arguments.json:
        print(json.dumps({"count": count}))
        return 1 if count < len(ids) else 0
    print(f"{count:,} {'records' if waiting else 'dead letters'} {told}")
    if count < len(ids):
        print(f"{len(ids) - count:,} of them are no dead letters, or not any more")
        return 1
    return 0
