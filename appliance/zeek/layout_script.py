"""``cluster-layout.bro`` and ``cluster-layout.zeek``, read without Zeek.

The files are programs. What generators write and what people write by hand is understood; conditions are taken in all
their branches; what only Zeek could compute stays as it is written and is reported.

Source: Zeek, ``scripts/base/frameworks/cluster/main.zeek``; zeekctl, ``ZeekControl/install.py``; Zeek,
``tools/systemd-generator/src/zeek-cluster-layout-generator.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .layout import ClusterLayout, LayoutNode, NodeType, ParsedLayout, Remark, decode_layout
from .layout_syntax import Entry, Expression, Reader, Record, Table
from .layout_values import Scope

__all__ = ["parse_layout_script"]

_OWN = frozenset({"Cluster::nodes", "Cluster::manager_is_logger", "Cluster::retry_interval", "Cluster::hosts"})
_BODIES = frozenset({"event", "hook", "function"})
_VALUES = frozenset({"const", "global", "option"})
_MAX_REMARKS = 1000
"""Of one file; nobody reads more."""


def parse_layout_script(data: bytes, file: str = "", *, environ: Mapping[str, str] | None = None) -> ParsedLayout:
    """Read a layout.

    Args:
        data: the file, or the first `MAX_BYTES` + 1 bytes of it.
        file: its name, for messages.
        environ: for ``getenv``.

    Raises:
        LayoutError: too large, not a Zeek script, or nested deeper than any layout.
    """
    return _Script(decode_layout(data, file), file, environ or {}).run()


class _Script:
    def __init__(self, text: str, file: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._remarks: list[Remark] = []
        self._untold = 0
        self._loads: list[tuple[str, int]] = []
        self._reader = Reader(text, file, lambda what, at: self._loads.append((what, at)))
        self._scope = Scope(environ)
        self._nodes: dict[str, LayoutNode] = {}
        self._branches: dict[str, tuple[int, ...]] = {}
        self._is_logger: bool | None = None
        self._retry_ns: int | None = None

    def run(self) -> ParsedLayout:
        reader = self._reader
        while reader.token.kind != "end":
            self._read_statement()
        for what, at in self._loads:
            if not what.startswith("base/"):
                self._remark(f"loads {what}, which was not read", at)
        layout = ClusterLayout(
            nodes=tuple(self._nodes.values()), manager_is_logger=self._is_logger, retry_interval_ns=self._retry_ns
        )
        remarks = sorted(self._remarks, key=lambda each: (each.line, each.column))
        if self._untold:
            remarks.append(Remark(f"{self._untold} more remarks are left out", self._file))
        return ParsedLayout(layout, tuple(remarks))

    def _remark(self, message: str, at: int) -> None:
        if len(self._remarks) >= _MAX_REMARKS:
            self._untold += 1
            return
        line, column = self._reader.tokens.place(at)
        self._remarks.append(Remark(message, self._file, line, column))

    # ── statements ──

    def _read_statement(self) -> None:
        reader = self._reader
        token = reader.token
        word = token.text if token.kind == "name" else ""
        if reader.accept(";"):
            return
        if word == "export":
            reader.advance()
            opened = reader.token
            reader.expect("{")
            while not reader.accept("}"):
                if reader.token.kind == "end":
                    reader.expect("}", opened)
                self._read_statement()
        elif word == "module":
            reader.advance()
            self._scope.module = reader.advance().text
            reader.expect(";")
        elif word in _BODIES:
            reader.advance()
            self._remark(f"{word} {reader.token.text[:80]} was not read", token.at)
            reader.skip_body()
        elif word == "redef":
            reader.advance()
            self._read_redef(token.at)
        elif word in _VALUES:
            reader.advance()
            self._read_value()
        elif word == "type":
            reader.skip(";")
            reader.expect(";")
        else:
            raise reader.error(f"expected a statement, found {token.text[:40]!r}", token.at)

    def _read_value(self) -> None:
        """A constant: kept in case that something refers to it."""
        reader = self._reader
        name = reader.advance().text
        if reader.accept(":"):
            reader.skip("=", "&", ";")
        if reader.accept("="):
            value = reader.read_expression(";", "&")
            self._scope.define(name, value)
            if isinstance(value, Table):
                self._define_entries(name, value)
        reader.skip(";")
        reader.expect(";")

    def _define_entries(self, name: str, table: Table) -> None:
        for entry in table.entries:
            key = self._scope.read_string(entry.key)
            if key is not None and entry.value is not None:
                self._scope.add_entry(name, key, entry.value)

    def _read_redef(self, at: int) -> None:
        reader = self._reader
        token = reader.advance()
        if token.kind != "name":
            raise reader.error("expected a name behind redef", token.at)
        name = token.text
        if name in ("record", "enum"):
            self._remark(f"redef {name} {reader.token.text[:80]} was not read", at)
            reader.skip(";")
            reader.expect(";")
            return
        full = self._scope.qualify(name)
        sign = reader.token.text
        if full not in _OWN or sign not in ("=", "+="):
            reader.skip(";")
            self._remark(f"redef {full[:80]} was not read", at)
            reader.expect(";")
            return
        reader.advance()
        value = reader.read_expression(";", "&")
        reader.skip(";")
        reader.expect(";")
        self._take_own(full, value, at, is_addition=sign == "+=")

    def _take_own(self, name: str, value: Expression, at: int, *, is_addition: bool) -> None:
        known: Any = True
        if name == "Cluster::manager_is_logger":
            known = self._is_logger = self._scope.read_bool(value)
        elif name == "Cluster::retry_interval":
            known = self._retry_ns = self._scope.read_interval_ns(value)
        else:
            table = self._scope.resolve(value)
            if not isinstance(table, Table):
                known = None
            elif name == "Cluster::hosts":
                self._define_entries(name, table)
            else:
                self._take_nodes(table, is_addition=is_addition)
        if known is None:
            self._remark(f"{name} is unknown: {self._scope.explain(value)}", at)

    # ── nodes ──

    def _take_nodes(self, table: Table, *, is_addition: bool) -> None:
        if not is_addition:
            self._nodes.clear()
            self._branches.clear()
        for entry in table.entries:
            self._take_entry(entry)

    def _take_entry(self, entry: Entry) -> None:
        name = self._scope.read_string(entry.key)
        record = None if entry.value is None else self._as_record(entry.value)
        if name is None or record is None:
            self._remark("an entry of Cluster::nodes was not read: no name and record", entry.at)
            return
        if name in self._nodes:
            is_branch = self._branches[name] != entry.branch
            how = "in two branches of a condition" if is_branch else "twice"
            self._remark(f"{name!r} is defined {how}, the later counts", entry.at)
        self._branches[name] = entry.branch
        self._nodes[name] = self._make_node(name, record, entry.at)

    def _as_record(self, value: Expression) -> Record | None:
        found = self._scope.resolve(value)
        return found if isinstance(found, Record) else None

    def _make_node(self, name: str, record: Record, at: int) -> LayoutNode:
        known: dict[str, Any] = {}
        extra: dict[str, str] = {}
        seen: set[str] = set()
        for field in record.fields:
            if field.name in seen:
                self._remark(f"${field.name} of {name!r} is set twice, the later counts", field.at)
                extra.pop(field.name, None)
                known.pop(_MEMBERS.get(field.name, field.name), None)
            seen.add(field.name)
            read = self._read_field(field.name, field.value)
            if read is not None:
                known.update(read)
                continue
            extra[field.name] = self._reader.text_of(field.span)
            is_known = field.name in _FIELDS
            told = f"is kept as it is: {self._scope.explain(field.value)}"
            why = told if is_known else "is not one that we know; kept"
            self._remark(f"${field.name} of {name!r} {why}", field.at)
        if "node_type" not in seen:
            self._remark(f"{name!r} has no $node_type", at)
        return LayoutNode(name=name, extra=tuple(extra.items()), **known)

    def _read_field(self, field: str, value: Expression) -> dict[str, Any] | None:
        """Members of a node, or None if the field has to stay as it is."""
        scope = self._scope
        if field == "node_type":
            kind = (scope.read_enum(value) or "").lower()
            return {"type": NodeType(kind)} if kind in _TYPES else None
        if field == "ip":
            address = scope.read_address(value)
            return None if address is None else {"ip": address}
        if field in ("p", "metrics_port"):
            port = scope.read_port(value)
            if port is None or (port[1] != "tcp" and port[0]):
                return None
            if field == "p":
                return {"port": port[0] or None}
            return {"metrics_port": port[0]}
        if field in _FIELDS:
            text = scope.read_string(value)
            return None if text is None else {field: text}
        return None


_MEMBERS = {"node_type": "type", "p": "port"}
"""Fields that our nodes have under another name."""
_TYPES = frozenset(kind.value for kind in NodeType)
_FIELDS = frozenset({"node_type", "ip", "p", "metrics_port", "zone_id", "interface", "manager", "time_machine"})
