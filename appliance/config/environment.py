"""``${NAME}`` in strings: replaced by the environment, or refused where it is not set. What the environment says about
Broker, by the names that Zeek gave it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from appliance.config.lines import Key
from appliance.config.report import Place, Report, quote
from appliance.config.shape import HOLE
from appliance.config.tables import Broker
from appliance.units import Duration

__all__ = ["escape", "expand", "has_retry", "override_broker"]

_RETRY = ("ZEEK_DEFAULT_CONNECT_RETRY", "BRO_DEFAULT_CONNECT_RETRY")
_LISTEN_ADDRESS = "ZEEK_DEFAULT_LISTEN_ADDRESS"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# `$${` first: it is a literal `${`.
_MARK = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")


def escape(text: str) -> str:
    """Write a text so that `expand` gives it back."""
    return text.replace("${", "$${")


def expand(value: Any, key: Key, environ: Mapping[str, str], report: Report) -> Any:
    """Replace ``${NAME}`` in every string of a value.

    Args:
        value: a value as tomllib gives it; it is not changed.
        key: where it is written.
        environ: the environment.
        report: takes what is unset or misspelt, and what was replaced.

    Returns:
        The same with names replaced; a hole for each string with a mistake.
    """
    if isinstance(value, dict):
        return {name: expand(each, (*key, name), environ, report) for name, each in value.items()}
    if isinstance(value, list):
        return [expand(each, (*key, number), environ, report) for number, each in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    text, mistakes, taken = _expand_text(value, environ)
    if taken:
        report.taken[key] = taken
    for mistake, hint in mistakes:
        report.add(key, mistake, hint)
    return HOLE if mistakes else text


def _expand_text(text: str, environ: Mapping[str, str]) -> tuple[str, list[tuple[str, str]], dict[str, str]]:
    mistakes: list[tuple[str, str]] = []
    taken: dict[str, str] = {}

    def replace(found: re.Match[str]) -> str:
        name, closed = found[1], found[2]
        if name is None:
            return "${"
        if not closed:
            mistakes.append(("${ is not closed", "write $${ for a literal ${"))
        elif not _NAME.fullmatch(name):
            mistakes.append((f"{found[0]} does not name an environment variable", "write $${ for a literal ${"))
        elif name not in environ:
            mistakes.append((f"the environment variable {name} is not set", ""))
        taken[name] = environ.get(name, "")
        return taken[name]

    return _MARK.sub(replace, text), mistakes, taken


def has_retry(environ: Mapping[str, str]) -> bool:
    """Whether the environment says how long to wait between attempts to connect."""
    return any(environ.get(name) for name in _RETRY)


def override_broker(broker: Broker, environ: Mapping[str, str], report: Report) -> Broker:
    """Take over what the environment says about Broker.

    Args:
        broker: the table as built, with holes.
        environ: of ZEEK_DEFAULT_CONNECT_RETRY and BRO_DEFAULT_CONNECT_RETRY, seconds, the first that is set counts;
            ZEEK_DEFAULT_LISTEN_ADDRESS is the host of every address to listen on that has none.
        report: takes a number that is none.

    Source: Zeek, ``scripts/base/frameworks/broker/main.zeek``.
    """
    name = next((each for each in _RETRY if environ.get(each)), None)
    if name is not None:
        try:
            retry = Duration.parse(f"{environ[name].strip()}s")
        except ValueError:
            retry = Duration(0)
        if retry:
            broker = replace(broker, retry_interval=retry)
        else:
            told = f"{name}={quote(environ[name])} in the environment is not a number of seconds above 0"
            report.add(("broker", "retry_interval"), told, place=Place(report.files[0], 0))
    host = environ.get(_LISTEN_ADDRESS, "")
    if host and broker.listen is not HOLE:
        shown = f"[{host}]" if ":" in host else host
        filled = tuple(
            f"{shown}{text}" if isinstance(text, str) and text.startswith(":") else text for text in broker.listen
        )
        broker = replace(broker, listen=filled)
    return broker
