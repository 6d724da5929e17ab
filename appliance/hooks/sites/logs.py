"""``logparser.parse`` for hooks of BroAPT: a whole log in memory, as a frame of pandas, or as `Frame` if there is none.

As there, but: each set has elements of its own type, what is empty is empty, text is UTF-8, times are in UTC, and a
line that is none is left out. Large logs are better read record by record.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from appliance.zeek.address import Address, Port, Subnet
from appliance.zeek.schema import ZeekType
from appliance.zeek.tsv import TsvReader

__all__ = ["Frame", "JSONInfo", "TEXTInfo", "parse"]

_MAX_LINE = 64 << 20
_STAMP = "%Y-%m-%d-%H-%M-%S"


class TEXTInfo:
    """A log in Zeek's ASCII format.

    Attributes:
        path: Zeek's log path.
        open: when it was begun.
        close: when it was ended; if it was not, when it was read.
        context: its records.
        exit_with_error: it was not ended.
    """

    format = "text"

    def __init__(self, *, path: str, opened: str, closed: str | None, context: Any) -> None:
        self.path = path
        self.open = _moment(opened)
        self.close = _moment(closed)
        self.context = context
        self.exit_with_error = closed is None


class JSONInfo:
    """A log of JSON lines.

    Attributes:
        context: its records; times are seconds since the epoch.
    """

    format = "json"

    def __init__(self, *, context: Any) -> None:
        self.context = context


def parse(filename: str | Path, hook: None = None) -> TEXTInfo | JSONInfo:
    """Read a log, whichever of the two it is.

    Raises:
        OSError: it cannot be read.
        ValueError: it is neither, or `hook`, a parser for some types, is given: there are none here.
    """
    if hook is not None:
        raise ValueError("logparser.parse takes no parsers of one's own")
    with Path(filename).open("rb") as stream:
        first = stream.read(1)
        stream.seek(0)
        if first != b"#":
            rows = [json.loads(line) for line in stream if line.strip()]
            return JSONInfo(context=_make_frame(list(dict.fromkeys(name for row in rows for name in row)), rows))
        reader = TsvReader(max_line=_MAX_LINE)
        records = reader.feed(stream.read())
    rows = []
    names: dict[str, None] = {}
    for header, found in records:
        names |= dict.fromkeys(header.names)
        converters = [(field.name, _converter(field.type)) for field in header.columns]
        for record in found:
            pairs = zip(converters, record, strict=True)
            rows.append({name: None if value is None else convert(value) for (name, convert), value in pairs})
    head = reader.header
    context = _make_frame(list(names or head.names), rows)
    return TEXTInfo(path=head.path, opened=head.opened, closed=head.closed, context=context)


def _moment(text: str | None) -> datetime:
    try:
        return datetime.strptime(text or "", _STAMP).astimezone()
    except ValueError:
        return datetime.now(UTC)


def _converter(kind: ZeekType) -> Callable[[Any], Any]:
    if kind is ZeekType.TIME:
        return lambda value: datetime.fromtimestamp(value, UTC)
    if kind is ZeekType.TABLE:
        return lambda value: {_plain(each) for each in value}
    return _plain


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Port):
        return value.number
    if isinstance(value, Address):
        return ipaddress.ip_address(str(value))
    if isinstance(value, Subnet):
        return ipaddress.ip_network(str(value))
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _make_frame(names: list[str], rows: list[dict[str, Any]]) -> Any:
    try:
        pandas = importlib.import_module("pandas")  # not one of ours: a package may have brought it
    except ImportError:
        return Frame(names, rows)
    return pandas.DataFrame(rows, columns=names)


class Column(Sequence[Any]):
    """One column of a `Frame`; a comparison with a value gives what a frame can be indexed with."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> list[bool]:  # type: ignore[override]
        return [value == other for value in self._values]

    def __ne__(self, other: object) -> list[bool]:  # type: ignore[override]
        return [value != other for value in self._values]

    __hash__ = None  # type: ignore[assignment]


class Frame:
    """As much of a pandas frame as hooks over logs use: rows, columns, and choosing rows."""

    def __init__(self, columns: list[str], rows: list[dict[str, Any]]) -> None:
        self.columns = columns
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    @property
    def empty(self) -> bool:
        return not self._rows

    def __getattr__(self, name: str) -> Column:
        if name.startswith("_") or name not in self.columns:
            raise AttributeError(name)
        return self[name]  # type: ignore[no-any-return]

    def __getitem__(self, key: Any) -> Any:
        """A column by its name; or the rows for which a list has true, or a function of the frame gives such a list."""
        if callable(key):
            key = key(self)
        if isinstance(key, str):
            if key not in self.columns:
                raise KeyError(key)
            return Column([row.get(key) for row in self._rows])
        return Frame(self.columns, [row for row, is_wanted in zip(self._rows, key, strict=True) if is_wanted])

    def iterrows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and fields of each row."""
        for number, row in enumerate(self._rows):
            yield number, {name: row.get(name) for name in self.columns}

    def itertuples(self) -> Iterator[SimpleNamespace]:
        """Each row with its fields as attributes; names that are none are for `getattr`."""
        for number, row in self.iterrows():
            yield SimpleNamespace(Index=number, **row)

    def to_dict(self, orient: str = "records") -> list[dict[str, Any]]:
        """The rows."""
        if orient != "records":
            raise ValueError(f"only records, not {orient!r}")
        return [row for _, row in self.iterrows()]
