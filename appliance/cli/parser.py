"""The arguments of every command. Imports nothing heavy: ``--help`` and ``--version`` answer at once."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from appliance import __version__

from .capture_arguments import add_capture
from .evidence_arguments import add_evidence
from .examples import EXAMPLES
from .extract_arguments import add_extract
from .hooks_arguments import add_hooks
from .layout_arguments import add_layout
from .operation_arguments import add_operation
from .pcap_arguments import add_pcap
from .store_arguments import add_store
from .token_arguments import add_token

__all__ = ["make_parser"]

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


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
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

    add_operation(commands, _command, _add_socket)
    _add_events(commands)

    _command(
        commands,
        "schema",
        "print the JSON Schema of the TOML file",
        "Print the JSON Schema (2020-12) of the TOML file, for editors: put '#:schema FILE' into its first line.",
        "schema",
    )

    add_capture(commands, _command, _add_socket)
    add_extract(commands, _command, _add_socket)
    add_hooks(commands, _command, _add_socket)
    add_evidence(commands, _command, _add_socket)
    add_layout(commands, _command)
    add_pcap(commands, _command)
    add_store(commands, _command, _add_socket, LITERALS)
    add_token(commands, _command)

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
    _add_examples(commands)
    return parser


def _add_examples(commands: Any, before: str = "") -> None:
    """Let the help of every command end with examples."""
    for name, parser in commands.choices.items():
        examples = EXAMPLES.get(f"{before}{name}", ())
        # Aligned, as far as they are short.
        width = min(64, max((len(words) for words, _ in examples), default=0))
        lines = [f"  broappliance {words:{width}}  {what}".rstrip() for words, what in examples]
        parser.epilog = "\n".join(["examples:", *lines]) if lines else None
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        if parser._subparsers is not None:  # noqa: SLF001 - argparse tells it nowhere else
            for action in parser._subparsers._group_actions:  # noqa: SLF001
                _add_examples(action, f"{before}{name} ")
