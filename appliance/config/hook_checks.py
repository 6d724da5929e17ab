"""What types cannot tell about hooks: which keys go with which kind of hook and queue, which placeholders with
which items, and which delays make sense.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from appliance.config.commands import PLACEHOLDERS, mistakes_in_word, placeholders_of
from appliance.config.lines import Key
from appliance.config.report import Report, one_of, quote
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config

__all__ = ["check_hooks"]

_KINDS = ("run", "command", "sites")
_PROCESS_KEYS = ("max_items", "memory_limit", "cpu_limit")
"""What only a process of its own can have."""


def check_hooks(config: Config, report: Report) -> None:
    """Report what is wrong with each hook."""
    for key, hook in select(config, "hook", EACH):
        if HOLE not in (hook.run, hook.command, hook.sites):
            _check_kind(key, hook, report)
        if hook.command is not HOLE:
            _check_command(key, hook, report)
        if HOLE not in (hook.workdir, hook.produces):
            _check_workdir(key, hook, report)
        if hook.isolation in ("task", "thread"):
            _refuse(key, _PROCESS_KEYS, report, "is for processes", 'leave it out, or write isolation = "process"')
        if hook.queue not in (HOLE, "durable"):
            names = sorted(hook.foreign_keys - hook.foreign_kinds.keys())
            _refuse(key, names, report, "is for durable queues", 'leave it out, or write queue = "durable"')
        if HOLE not in (hook.backoff, hook.backoff_max) and hook.backoff > hook.backoff_max:
            place = (*key, "backoff" if (*key, "backoff") in report.places else "backoff_max")
            report.add(place, f"backoff is longer than backoff_max: {hook.backoff} and {hook.backoff_max}")


def _refuse(key: Key, names: Iterable[str], report: Report, message: str, hint: str) -> None:
    for name in names:
        if (*key, name) in report.places:
            report.add((*key, name), message, hint)


def _check_kind(key: Key, hook: Any, report: Report) -> None:
    written = [name for name in _KINDS if (*key, name) in report.places]
    if not getattr(hook, hook.kind):
        report.add((*key, "run"), "missing", "or write command or sites" if not written else "")
        return
    for name in written[1:]:
        report.add((*key, name), f"stands beside {written[0]}", "a hook has one of them")
    if len(written) == 1:
        for name, kinds in sorted(hook.foreign_kinds.items()):
            if (*key, name) in report.places:
                report.add((*key, name), f"is for hooks with {one_of(kinds)}", "leave it out")
        for place, entry in select(hook, "on", EACH) if hook.kind == "sites" else ():
            if entry.partition(":")[0] != "folder":
                report.add((*key, *place), f"sites take only {quote('folder:')}, got {quote(entry)}")


def _check_workdir(key: Key, hook: Any, report: Report) -> None:
    for message, hint in mistakes_in_word(hook.workdir):
        report.add((*key, "workdir"), message, hint)
    for name in sorted(placeholders_of([hook.workdir]) & {"path", "dir"}):
        report.add((*key, "workdir"), f"a folder cannot be named by {{{name}}}", "use {name}")
    if hook.workdir and not placeholders_of([hook.workdir.rpartition("/")[2]]):
        report.add((*key, "workdir"), "every call would have the same folder", "write {name} in its last part")
    if hook.produces and not hook.workdir:
        report.add((*key, "produces"), "needs a folder to work in", 'write workdir = "logs/{name}"')


def _check_command(key: Key, hook: Any, report: Report) -> None:
    words = [(place, word) for place, word in select(hook, "command", EACH)]
    mistakes = [(place, *mistake) for place, word in words for mistake in mistakes_in_word(word)]
    for place, message, hint in mistakes:
        report.add((*key, *place), message, hint)
    if words and words[0][0] == ("command", 0):
        program = words[0][1]
        if not program.strip():
            report.add((*key, "command", 0), "must not be empty")
        elif not mistakes and placeholders_of([program]):
            report.add((*key, "command", 0), "an item must not choose the program")
    if mistakes or HOLE in (hook.on, hook.batch):
        return
    if hook.batch > 1 and (wanted := placeholders_of([word for _, word in words])):
        shown = " ".join(f"{{{name}}}" for name in sorted(wanted))
        report.add((*key, "batch"), f"records differ in {shown}", "leave it out, or read them from the input")
        return
    kinds = {entry.partition(":")[0] for _, entry in select(hook, "on", EACH)}
    for place, word in words:
        for name in sorted(placeholders_of([word])):
            for kind in sorted(k for k in kinds & PLACEHOLDERS.keys() if name not in PLACEHOLDERS[k]):
                report.add((*key, *place), f"there is no {{{name}}} for {quote(f'{kind}:')}")
