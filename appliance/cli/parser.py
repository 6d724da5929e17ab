"""The arguments of every command. Imports nothing heavy: ``--help`` and ``--version`` answer at once, and a command
does not wait for the arguments of the others.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from appliance import __version__

__all__ = ["make_parser", "parse"]

DESCRIPTION = """\
One process for a Bro/Zeek site: takes in logs and packets, runs the site's hooks, writes files, and accounts for every
record and packet.

Without a command it runs the appliance described by --config until SIGTERM or Ctrl-C. SIGHUP makes it read the file
again and apply what changed.
"""
EPILOG = """\
examples:
  broappliance demo                                  see it work, with traffic of its own
  broappliance --config site.toml --check            is the file right?
  broappliance --config site.toml                    run
  broappliance status --config site.toml --watch     what it does now
  broappliance publish event zeek/event/my My::alarm 10.0.0.1 5
  broappliance subscribe zeek/event/my/              events as they arrive
  broappliance extract -o x.pcap --from -10m --host 10.0.0.1   packets of the last ten minutes
  broappliance reload --wait                         read the file again, and say what has changed

exit codes: 0 success, 1 failure while running, 2 mistake in the configuration or the arguments,
3 (status, hooks failed) something needs attention, (pcap) a file is torn or damaged, (extract, evidence request)
packets are missing
"""

LITERALS = """\
What looks like a value of one of Zeek's types is one, everything else is a string:
  5 count, +5 or -5 int, 1.5 double, T or F bool, 80/tcp port, 5s or 10min interval,
  10.0.0.1 or 2001:db8::1 addr, 10.0.0.0/8 subnet
TYPE:VALUE says the type: count: int: double: bool: string: addr: subnet: port: enum:
time: (seconds since 1970, or 2026-11-21T06:18:00) interval: and json:, for sets, vectors and
tables as POST /v1/events takes them.
"""

# A command's own default would overwrite what stands before the command: ``--config FILE status``.
_CONFIG: dict[str, Any] = {"type": Path, "metavar": "FILE", "default": argparse.SUPPRESS}


_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    """Says what was probably meant."""

    def error(self, message: str) -> NoReturn:
        if found := _CHOICE.search(message):
            from difflib import get_close_matches

            choices = re.findall(r"[^\s,']+", found[2])
            if near := get_close_matches(found[1], choices, n=1):
                message = f"{message[: found.start()]}there is no {found[1]!r}, did you mean {near[0]!r}?"
        super().error(message)


class _UnsureError(Exception):
    """Only who knows every command can tell."""


class _Partial(_Parser):
    """Knows the commands that may be meant, and says nothing about any."""

    def error(self, message: str) -> NoReturn:
        raise _UnsureError(message)

    def print_help(self, file: Any = None) -> None:
        raise _UnsureError(file)


def _later(module: str, function: str = "call") -> Callable[[argparse.Namespace], int]:
    def call(arguments: argparse.Namespace) -> int:
        return int(getattr(import_module(f"appliance.cli.{module}"), function)(arguments))

    return call


def _add_socket(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("which appliance")
    place = where.add_mutually_exclusive_group()
    place.add_argument("--config", **_CONFIG, help="the one that runs with this file: asked at its [api] listen")
    place.add_argument("--socket", type=Path, metavar="PATH", help="its socket (default: /run/broappliance/api.sock)")
    place.add_argument("--url", metavar="URL", help="somewhere else: https://HOST:PORT")
    where.add_argument("--token-file", type=Path, metavar="FILE", help="with --url: who we are")
    where.add_argument("--ca", type=Path, metavar="FILE", help="with --url: who signed its certificate, PEM")


def _command(
    commands: Any, name: str, summary: str, description: str, module: str, function: str = "call"
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(call=_later(module, function))
    return parser


def _add_events(commands: Any) -> None:
    """Commands that send and show events."""
    publish = commands.add_parser("publish", help="send an event or a print", description="Send an event or a print.")
    kinds = publish.add_subparsers(dest="what", metavar="KIND", title="kinds", required=True)
    event = _command(
        kinds,
        "event",
        "send an event to the peers",
        "Publish an event through a running appliance: to every peer that asked for the topic.\n\n" + LITERALS,
        "publish",
        "call_event",
    )
    event.add_argument("topic", metavar="TOPIC", help="e.g. zeek/event/my/topic")
    event.add_argument("name", metavar="NAME", help="the event's name with its module, e.g. My::event")
    event.add_argument("arg", metavar="ARG", nargs="*", default=(), help="its arguments")
    _add_via(event)
    event.add_argument("--json", action="store_true", help="print JSON")
    _add_socket(event)
    text = _command(
        kinds,
        "print",
        "send a text to the peers",
        "Publish a text through a running appliance, as a print: one string and nothing around it.",
        "publish",
        "call_print",
    )
    text.add_argument("topic", metavar="TOPIC", help="e.g. bro/print/my/topic")
    text.add_argument("text", metavar="TEXT", help="what to print")
    _add_via(text)
    text.add_argument("--json", action="store_true", help="print JSON")
    _add_socket(text)

    subscribe = _command(
        commands,
        "subscribe",
        "show events and prints as they arrive",
        "Print a line for each event and print on topics that begin with one of the prefixes. The peers are asked for\n"
        "them meanwhile. Ctrl-C ends it, with exit code 0. What is dropped because the reader is too slow is told on\n"
        "standard error.",
        "subscribe",
    )
    subscribe.add_argument("prefix", metavar="PREFIX", nargs="+", help="the begin of topics, e.g. zeek/event/my/")
    subscribe.add_argument("--json", action="store_true", help="print JSON objects, with typed and plain arguments")
    subscribe.add_argument("--count", type=_positive, metavar="N", help="end after so many")
    _add_socket(subscribe)


def _add_via(command: Any) -> None:
    told = "only through this door, e.g. broker or websocket.NAME; again for more of them (default: all that are open)"
    command.add_argument("--via", action="append", default=[], metavar="DOOR", help=told)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _add_schema(commands: Any) -> None:
    _command(
        commands,
        "schema",
        "print the JSON Schema of the TOML file",
        "Print the JSON Schema (2020-12) of the TOML file, for editors: put '#:schema FILE' into its first line.",
        "schema",
    )


def _add_import(commands: Any) -> None:
    import_ = _command(
        commands,
        "import",
        "make a configuration from AIT's bsc.yaml",
        "Print a configuration that captures what AIT-Core's binary stream capturer does with this file. What means\n"
        "something else here is told on standard error, line by line; docs/ait.md says more.",
        "import_",
    )
    import_.add_argument("file", type=Path, metavar="FILE", help="bsc.yaml")
    import_.add_argument("--output", "-o", type=Path, metavar="FILE", help="write a new file instead of printing")


def _add_demo(commands: Any) -> None:
    demo = _command(
        commands,
        "demo",
        "run with traffic of its own and show what happens",
        "Start an appliance with conf/demo.toml, connect to it as Zeek's ZeroMQ log writer does, replay recorded Zeek\n"
        "records, send telemetry datagrams, and show what arrives. Ctrl-C drains and prints the final ledger.",
        "demo",
    )
    demo.add_argument("--config", **_CONFIG, help="another file than the demo's own")
    demo.add_argument("--once", action="store_true", help="replay once, check that everything arrived, and exit")
    demo.add_argument("--rate", type=int, default=200, metavar="N", help="records per second (default: %(default)s)")


def _elsewhere(name: str, *more: object) -> Callable[[Any], None]:
    """What adds commands is in a module of its own."""

    def add(commands: Any) -> None:
        getattr(import_module(f"appliance.cli.{name}_arguments"), f"add_{name}")(commands, _command, *more)

    return add


_COMMANDS: tuple[tuple[frozenset[str], Callable[[Any], None]], ...] = (
    (frozenset({"status", "reload", "config"}), _elsewhere("operation", _add_socket)),
    (frozenset({"publish", "subscribe"}), _add_events),
    (frozenset({"schema"}), _add_schema),
    (frozenset({"capture"}), _elsewhere("capture", _add_socket)),
    (frozenset({"extract"}), _elsewhere("extract", _add_socket)),
    (frozenset({"hooks"}), _elsewhere("hooks", _add_socket)),
    (frozenset({"evidence"}), _elsewhere("evidence", _add_socket)),
    (frozenset({"layout"}), _elsewhere("layout")),
    (frozenset({"pcap"}), _elsewhere("pcap")),
    (frozenset({"store"}), _elsewhere("store", _add_socket, LITERALS)),
    (frozenset({"token"}), _elsewhere("token")),
    (frozenset({"import"}), _add_import),
    (frozenset({"demo"}), _add_demo),
)
"""Names of commands, and what adds these; in the order of ``--help``."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What the arguments ask for, with `call` that does it.

    Raises:
        SystemExit: help or the version was printed, or a mistake told.
    """
    try:
        arguments = _make(_Partial, [add for names, add in _COMMANDS if not names.isdisjoint(argv)]).parse_args(argv)
        if arguments.command is not None or arguments.config is not None:
            return arguments
    except _UnsureError:
        pass
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None and arguments.config is None:
        parser.error("--config FILE is needed to run; try 'broappliance demo', or --help")
    return arguments


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    from .examples import EXAMPLES

    parser = _make(_Parser, [add for _, add in _COMMANDS])
    for action in parser._subparsers._group_actions if parser._subparsers else ():  # noqa: SLF001 - see `_add_examples`
        _add_examples(action, EXAMPLES)
    return parser


def _make(kind: type[_Parser], adders: Sequence[Callable[[Any], None]]) -> _Parser:
    parser = kind(
        prog="broappliance",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(call=_later("run"))
    parser.add_argument("--version", action="version", version=f"broappliance {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the TOML file to run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="check the file, hooks and expressions included, and exit")
    what.add_argument("--print-config", action="store_true", help="print the effective configuration and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    for add in adders:
        add(commands)
    return parser


def _add_examples(commands: Any, examples_of: Mapping[str, Sequence[tuple[str, str]]], before: str = "") -> None:
    """Let the help of every command end with examples."""
    for name, parser in commands.choices.items():
        examples = examples_of.get(f"{before}{name}", ())
        # Aligned, as far as they are short.
        width = min(64, max((len(words) for words, _ in examples), default=0))
        lines = [f"  broappliance {words:{width}}  {what}".rstrip() for words, what in examples]
        parser.epilog = "\n".join(["examples:", *lines]) if lines else None
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        if parser._subparsers is not None:  # noqa: SLF001 - argparse tells it nowhere else
            for action in parser._subparsers._group_actions:  # noqa: SLF001
                _add_examples(action, examples_of, f"{before}{name} ")
