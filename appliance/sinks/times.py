"""Times in rows, rewritten from seconds since the epoch to another of the forms that Zeek's JSON writer has.

Works on whole blocks of rows by one expression for each column. That is exact: inside of a string a quotation mark has
a backslash before it, so the bytes of a name with its colon are never part of one. Rows with nested objects, which no
Zeek writes, are walked through, because a member of a member is no column.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from appliance.zeek.json_lines import TimeFormat
from appliance.zeek.json_string import quote_name
from appliance.zeek.json_time import make_time_renderer
from appliance.zeek.schema import as_bytes

__all__ = ["TimeRewriter", "renderer_for"]

Columns = tuple[tuple[str, str], ...]
Render = Callable[[float], bytes]

_UNKNOWN: Columns = (("ts", "time"), ("_write_ts", "time"))
"""Columns that are times whoever wrote the row."""
_LISTS = ("set[time]", "vector[time]", "table[time]")
_SPACE = rb"[ \t\r]*+"
_NUMBER = rb"-?+[0-9]++(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+"
_ELEMENT = re.compile(_NUMBER)
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]]')
_BEFORE_VALUE = (b":", b",", b"[", b" ", b"\t", b"\r")
_YEAR_3000_S = 32_503_680_000
_COLUMNS_KEPT = 1024

_WRITTEN = {"epoch": TimeFormat.EPOCH, "iso8601": TimeFormat.ISO8601, "millis": TimeFormat.MILLIS}
_write_iso8601 = make_time_renderer(TimeFormat.ISO8601)
_write_millis = make_time_renderer(TimeFormat.MILLIS)


@functools.lru_cache(maxsize=4096)
def _second(second: int) -> bytes:
    return _write_iso8601(float(second)).removesuffix(b'000000Z"')


def _render_iso8601(value: float) -> bytes:
    """As `json_time` does it, with a memory: the times of a log come in order, many in a second."""
    if 0 < value < _YEAR_3000_S:
        second = math.floor(value)
        return b'%s%06.0fZ"' % (_second(second), (value - second) * 1_000_000)
    return _write_iso8601(value)


def _render_millis(value: float) -> bytes:
    return b"%d" % (value * 1000) if 0 <= value < _YEAR_3000_S else _write_millis(value)


def renderer_for(time_format: str) -> Render:
    """Function that writes seconds since the epoch in ``epoch``, ``iso8601`` or ``millis``, for JSON."""
    if time_format == "iso8601":
        return _render_iso8601
    return _render_millis if time_format == "millis" else make_time_renderer(_WRITTEN[time_format])


class _Column(NamedTuple):
    key: bytes
    """The name as rows have it, with its quotation marks."""
    value: re.Pattern[bytes]
    """Key and value; the groups are what stays, and what is or holds the numbers."""
    is_list: bool

    @classmethod
    def make(cls, name: str, kind: str) -> _Column:
        key = quote_name(as_bytes(name))
        if kind in _LISTS:
            value, end = rb"[-+0-9.eE, \t\rnul]*+", rb"\]"
            start = re.escape(key) + _SPACE + b":" + _SPACE + rb"\["
        else:
            value, end = _NUMBER, _SPACE + rb"[,}]"
            start = re.escape(key) + _SPACE + b":" + _SPACE
        return cls(key, re.compile(rb"(" + start + rb")(" + value + rb")(?=" + end + rb")"), kind in _LISTS)


@functools.lru_cache(maxsize=_COLUMNS_KEPT)
def _time_columns(columns: Columns) -> tuple[_Column, ...]:
    found: list[_Column] = []
    for name, kind in columns or _UNKNOWN:
        if kind == "time" or kind in _LISTS:
            try:
                found.append(_Column.make(name, kind))
            except UnicodeEncodeError:  # a name that no bytes stand for is in no row
                continue
    return tuple(found)


class TimeRewriter:
    """See the module.

    Args:
        time_format: ``iso8601`` or ``millis``.
    """

    def __init__(self, time_format: str) -> None:
        self._render = renderer_for(time_format)

    def rewrite(self, data: bytes, count: int, columns: Columns) -> bytes:
        """The rows with their times rewritten; everything else, and times that are no numbers, stays byte for byte.

        Args:
            data: `count` rows.
            count: their number.
            columns: of their log; empty: only ``ts`` and ``_write_ts`` are taken for times.
        """
        times = _time_columns(columns)
        if data.count(b"{") == count or not _may_nest(data):
            return self._rewrite_flat(data, times)
        rows = data.split(b"\n")
        return b"\n".join([self._rewrite_row(row, times) for row in rows])

    def _rewrite_flat(self, data: bytes, times: tuple[_Column, ...]) -> bytes:
        for column in times:
            parts = column.value.split(data)
            rewrite = self._rewrite_list if column.is_list else self._rewrite_number
            parts[2::3] = map(rewrite, parts[2::3])
            data = b"".join(parts)
        return data

    def _rewrite_number(self, text: bytes) -> bytes:
        return self._render(float(text))

    def _rewrite_list(self, text: bytes) -> bytes:
        return _ELEMENT.sub(lambda found: self._render(float(found[0])), text)

    def _rewrite_row(self, row: bytes, times: tuple[_Column, ...]) -> bytes:
        if not _may_nest(row):
            return self._rewrite_flat(row, times)
        parts: list[bytes] = []
        done = 0
        for start in _strings_of_the_object(row):
            for column in times:
                found = column.value.match(row, start)
                if found:
                    rewrite = self._rewrite_list if column.is_list else self._rewrite_number
                    parts += [row[done : found.end(1)], rewrite(found[2])]
                    done = found.end()
        return b"".join([*parts, row[done:]])


def _may_nest(data: bytes) -> bool:
    """Whether a brace is where a value may begin; False is certain."""
    return any(piece.endswith(_BEFORE_VALUE) for piece in data.split(b"{"))


def _strings_of_the_object(row: bytes) -> Iterator[int]:
    """Where strings begin that belong to the row's object itself, among them the names of its members."""
    depth = 0
    for token in _TOKEN.finditer(row):
        if token[0] in b"{[":
            depth += 1
        elif token[0] in b"}]":
            depth -= 1
        elif depth == 1:
            yield token.start()
