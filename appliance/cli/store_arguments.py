"""Arguments of ``broappliance store``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["VERBS", "Verb", "add_store"]

TEXT = """\
Look into the data stores of a running appliance, and change them. They are Broker's: what is a clone here may have its
master in Zeek, and the other way round.

"""


class Verb(NamedTuple):
    """A command that is one operation."""

    name: str
    operation: str
    arguments: Sequence[str]
    """Names of the members that follow the store's name; one in brackets may be left out."""
    summary: str
    has_ttl: bool = False


VERBS = (
    Verb("get", "get", ("key", "[index]"), "the value of a key; with INDEX an element of it"),
    Verb("exists", "exists", ("key",), "exit code 0 if there is such a key, else 1"),
    Verb("size", "size", (), "how many keys there are"),
    Verb("put", "put", ("key", "value"), "set a value", True),
    Verb("put-unique", "put_unique", ("key", "value"), "set a value if there is none; else exit code 1", True),
    Verb("increment", "increment", ("key", "[value]"), "add a count, int, double or interval; 1 if not given", True),
    Verb(
        "decrement", "decrement", ("key", "[value]"), "take away a count, int, double or interval; 1 if not given", True
    ),
    Verb("append", "append", ("key", "value"), "append to a string", True),
    Verb("insert", "insert", ("key", "index", "[value]"), "put INDEX into a set, or VALUE at INDEX of a table", True),
    Verb(
        "remove", "remove", ("key", "value"), "take an element out of a set, or an index out of a table", has_ttl=True
    ),
    Verb("push", "push", ("key", "value"), "append an element to a vector", True),
    Verb("pop", "pop", ("key",), "take the last element off a vector", True),
    Verb("erase", "erase", ("key",), "take a key out; exit code 1 if there is none"),
    Verb("clear", "clear", (), "take everything out"),
)


def add_store(
    commands: Any, command: Callable[..., argparse.ArgumentParser], add_socket: Callable[..., None], literals: str
) -> None:
    """Add the command; `literals` says how keys and values are written."""
    store = commands.add_parser(
        "store",
        help="data stores: look, change, watch",
        description=TEXT + literals,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = store.add_subparsers(dest="what", metavar="WHAT", title="what to do", required=True)

    def verb(name: str, summary: str, function: str, *, text: str = "") -> argparse.ArgumentParser:
        parser = command(verbs, name, summary, text or f"{summary[0].upper()}{summary[1:]}.", "store", function)
        add_socket(parser)
        parser.add_argument("--json", action="store_true", help="print JSON, values with their types and plain")
        return parser

    verb("list", "every store: its role, its state and how much is in it", "call_list")
    for name, summary in (("keys", "the keys of a store"), ("entries", "the keys of a store with their values")):
        parser = verb(name, summary, "call_entries")
        parser.add_argument("name", metavar="NAME", help="of the store")
        parser.add_argument("--limit", type=int, metavar="N", help="so many at most (default: all)")
    for each in VERBS:
        text = f"{each.summary[0].upper()}{each.summary[1:]}.\n\n{literals}"
        parser = verb(each.name, each.summary, "call", text=text)
        parser.set_defaults(verb=each)
        parser.add_argument("name", metavar="NAME", help="of the store")
        for member in each.arguments:
            bare = member.strip("[]")
            parser.add_argument(bare, metavar=bare.upper(), nargs="?" if member.startswith("[") else None)
        if each.has_ttl:
            parser.add_argument("--ttl", metavar="TIME", help="lifetime of the entry from now on, e.g. 10min")
    watch = verb("watch", "what happens to a store, as it happens", "call_watch")
    watch.add_argument("name", metavar="NAME", help="of the store")
    watch.add_argument("--count", type=int, metavar="N", help="end after so many")
