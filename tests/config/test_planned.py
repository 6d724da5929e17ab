"""What this version does not have is refused by name: never ignored, and never called a typing error."""

from __future__ import annotations

import typing
from collections.abc import Callable

import pytest

from appliance.config import planned
from appliance.config.shape import toml_fields
from appliance.config.tables import Api, Capture, Cluster, ClusterZeromq, Config, Handler, Hook, Sink, Table

Mistakes = Callable[..., list[str]]

_TABLES: dict[str, type[Table]] = {
    "cluster": Cluster,
    "cluster.zeromq": ClusterZeromq,
    "capture": Capture,
    "capture.handler": Handler,
    "hook": Hook,
    "sink": Sink,
    "api": Api,
}
_BASES = {
    "capture": "[[capture]]\nname = 'c'\nconn_type = 'udp'\naddress = ['', 0]\nhandler = [{name = 'raw'}]\n",
    "hook": "[[hook]]\nname = 'h'\nrun = 'a:b'\non = ['log:*']\n",
    "sink": "[[sink]]\nname = 's'\non = ['log:*']\n",
    "api": "[api]\n",
    "cluster": "[cluster]\n",
    "cluster.zeromq": "[cluster.zeromq]\n",
}
_HANDLER = "[[capture]]\nname = 'c'\nconn_type = 'udp'\naddress = ['', 0]\n[[capture.handler]]\nname = 'raw'\n"


def _without(base: str, key: str) -> str:
    return "".join(line for line in base.splitlines(keepends=True) if not line.startswith(f"{key} "))


def test_tables_are_refused_by_name(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for a table, whatever is in it. At the moment there is no such table."""
    assert planned.TABLES == {}
    monkeypatch.setitem(planned.TABLES, "oracle", "[[oracle]]")
    told = ["site.toml:2: oracle: [[oracle]] is not available in this version"]
    assert mistakes("\n[[oracle]]\nname = 'x'\nsub = {a = 1}\n") == told


def test_sub_tables_count_as_their_table(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no header of the table itself; two of them are one refusal."""
    monkeypatch.setitem(planned.TABLES, "oracle", "[oracle]")
    assert mistakes("[oracle.nodes.manager]\nip = 'x'\n[oracle.other]\n") == [
        "site.toml:1: oracle: [oracle] is not available in this version",
    ]


def test_keys_are_refused_by_name(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value does not matter. At the moment there is no such key."""
    assert planned.KEYS == {}
    monkeypatch.setitem(planned.KEYS, "api", frozenset({"oracle"}))
    assert mistakes("[api]\noracle = 1\n") == ["site.toml:2: api.oracle: not available in this version"]


@pytest.mark.parametrize(("path", "value"), [(p, v) for p, values in planned.VALUES.items() for v in sorted(values)])
def test_values_are_refused_by_name(mistakes: Mistakes, path: str, value: str) -> None:
    """The line says what can be used instead."""
    table, _, key = path.rpartition(".")
    base = _without(_HANDLER if table == "capture.handler" else _BASES[table], key)
    if table == "capture":
        base = base.replace("[[capture]]\n", f"[[capture]]\n{key} = '{value}'\n")
        line = 2
    else:
        base, line = f"{base}{key} = '{value}'\n", base.count("\n") + 1
    shown = {"capture.handler": "capture[0].handler[0]", "cluster": "cluster"}.get(table, f"{table}[0]")
    (told,) = mistakes(base)
    assert told.startswith(f'site.toml:{line}: {shown}.{key}: {key} "{value}" is not available in this version, use "')


def test_the_values_to_use_are_listed(mistakes: Mistakes) -> None:
    """In the order of the documentation."""
    (told,) = mistakes(_BASES["sink"] + "queue = 'durable'")
    assert told.endswith(
        'queue "durable" is not available in this version, use "block", "drop_oldest" or "drop_newest"'
    )


def test_a_refused_value_causes_no_second_mistake(mistakes: Mistakes) -> None:
    """What the address of no known kind looks like is not looked at."""
    capture = "[[capture]]\nname = 'c'\nconn_type = 'serial'\naddress = ['ttyS0', 'raw']\nhandler = [{name = 'raw'}]\n"
    assert mistakes(capture) == ['site.toml:3: capture[0].conn_type: expected "udp", "tcp" or "ethernet", got "serial"']


def test_nothing_is_both_planned_and_there() -> None:
    """A table or key that becomes available leaves the list."""
    assert not planned.TABLES.keys() & toml_fields(Config).keys()
    for path, keys in planned.KEYS.items():
        assert not keys & toml_fields(_TABLES[path]).keys()
    for path, values in planned.VALUES.items():
        table, _, key = path.rpartition(".")
        assert not values & set(_allowed(toml_fields(_TABLES[table])[key].type))


def _allowed(kind: object) -> tuple[object, ...]:
    args = typing.get_args(kind)
    return args if typing.get_origin(kind) is typing.Literal else _allowed(args[0])
