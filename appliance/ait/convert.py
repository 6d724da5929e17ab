"""AIT's ``bsc.yaml`` as our tables, with a warning for everything that means something else here. Pure."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.errors import ConfigError

from .document import Document, Key
from .pattern import convert_pattern, split_pattern

__all__ = ["Converted", "Warned", "convert"]

UNITS = ("year", "month", "day", "hour", "minute", "second")
INDEXES = frozenset(
    [*UNITS, *(f"{unit}s" for unit in UNITS), "tm_year", "tm_mon", "tm_mday", "tm_hour", "tm_min", "tm_sec"]
)
CONN_TYPES = ("udp", "tcp", "ethernet")
DEFAULT_ROOT = "/tmp"  # noqa: S108 - AIT's own default, which is warned about
DEFAULT_PATTERN = "%Y-%m-%d-%H-%M-%S-{name}.pcap"
MAX_DELTA = 1_000_000
KNOWN = frozenset(
    {"name", "conn_type", "address", "path", "file_name_pattern", "rotate_log", "rotate_log_index", "rotate_log_delta",
     "pre_write_transforms"}
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BAD_IN_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_SCALARS = (str, int, float, bool)


class Warned(NamedTuple):
    """One changed meaning."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return f"{place}{self.key}: {self.text}" if self.key else f"{place}{self.text}"


class Converted(NamedTuple):
    """What became of a file."""

    captures: list[dict[str, Any]]
    """``[[capture]]`` tables, each with its ``handler`` tables."""
    warnings: list[Warned]


def convert(document: Document, *, home: str = "") -> Converted:
    """Convert a file.

    Args:
        document: the file.
        home: what ``~`` stands for.

    Raises:
        ExceptionGroup: of `ConfigError`, for everything that cannot be taken over.
    """
    return _Conversion(document, home).run()


def _show(key: Key) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in key).lstrip(".")


def _describe(value: Any) -> str:
    """Short, whatever it is: a value may be larger than memory when it is written out."""
    return repr(value)[:60] if isinstance(value, _SCALARS) else f"a {type(value).__name__}"


class _Conversion:
    def __init__(self, document: Document, home: str) -> None:
        self._document = document
        self._home = home
        self._warnings: list[Warned] = []
        self._errors: list[ConfigError] = []
        self._captures: dict[str, dict[str, Any]] = {}
        """By address, as AIT keeps its sockets."""
        self._names: set[str] = set()
        self._paths: set[str] = set()

    def _warn(self, text: str, key: Key = ()) -> None:
        self._warnings.append(Warned(self._document.file, self._document.line(key), _show(key), text))

    def _refuse(self, text: str, key: Key, hint: str = "") -> None:
        document = self._document
        self._errors.append(ConfigError(text, file=document.file, line=document.line(key), key=_show(key), hint=hint))

    def run(self) -> Converted:
        data = self._document.data
        if not isinstance(data, dict) or not isinstance(data.get("handlers"), list):
            hint = "AIT's main configuration names it: bsc.filename" if isinstance(data, dict) and "bsc" in data else ""
            self._refuse("has no list of handlers: this is not a bsc.yaml", (), hint)
        else:
            root = self._manager(data.get("capture_manager"))
            for number, handler in enumerate(data["handlers"]):
                self._handler(handler, ("handlers", number), root)
            for name in data.keys() - {"capture_manager", "handlers"}:
                self._warn("means nothing to AIT and is left out", (str(name)[:60],))
        if self._errors:
            raise ExceptionGroup("the file cannot be taken over", self._errors)
        if self._captures:
            self._warn_of_all()
        return Converted(list(self._captures.values()), self._warnings)

    def _warn_of_all(self) -> None:
        self._warn("files have times in nanoseconds, taken by the kernel on arrival; AIT: microseconds, when written")
        self._warn("a file ends in .part until it is complete, and one that exists gets a number; AIT appends to it")
        self._warn("files are rotated on a timer; AIT rotates only when a packet comes")
        types = {capture["conn_type"] for capture in self._captures.values()}
        if "ethernet" in types:
            self._warn("frames have link type 1 and are kept whole; AIT: link type 147, cut to 1518 bytes")
        if "tcp" in types:
            self._warn("a TCP connection that ends or is refused is made again, and ends its file; AIT fills the disk")

    # ── the manager ──

    def _manager(self, manager: Any) -> str:
        manager = manager if isinstance(manager, dict) else {}
        root = manager.get("root_log_directory")
        if not isinstance(root, str) or not root:
            root = DEFAULT_ROOT
            self._warn(f"no root_log_directory: as in AIT, files go to {root}", ("capture_manager",))
        if manager.get("manager_server") is not None:
            text = "the web server is replaced by the Unix socket of [api] listen, for 'broappliance capture' and HTTP"
            self._warn(text, ("capture_manager", "manager_server"))
        return self._folder(root, ("capture_manager", "root_log_directory"))

    def _folder(self, path: str, key: Key) -> str:
        if path.startswith("~") and self._home:
            expanded = self._home + path[1:] if path[1:2] in ("", "/") else path
            self._warn(f"{path!r} is written as {expanded!r}: ~ would be the home of whoever runs the appliance", key)
            path = expanded
        if not path.startswith("/"):
            self._warn(f"{path!r} is below state_dir; in AIT below the folder that it was started in", key)
        return posixpath.normpath(path)

    # ── a handler ──

    def _handler(self, handler: Any, key: Key, root: str) -> None:
        if not isinstance(handler, dict):
            self._refuse(f"expected a handler, got {_describe(handler)}", key)
            return
        before = len(self._errors)
        conn_type = self._conn_type(handler, key)
        address = self._address(handler.get("address"), (*key, "address"))
        written = handler.get("name")
        if not isinstance(written, _SCALARS) or written == "":
            self._refuse("missing", (*key, "name"))
        if len(self._errors) > before:
            return
        capture = self._capture(conn_type, address, key)
        name = self._unique_name(str(written), key)
        table = {"name": name, **self._paths_of(handler, str(written), name, root, key)}
        table |= self._rotation(handler, key)
        self._transforms(handler.get("pre_write_transforms"), (*key, "pre_write_transforms"))
        if len(self._errors) == before:
            capture["handler"].append(table)

    def _conn_type(self, handler: Mapping[Any, Any], key: Key) -> str:
        conn_type = handler.get("conn_type")
        if conn_type not in CONN_TYPES:
            hint = 'is it what "type" says?' if conn_type is None and "type" in handler else ""
            told = "missing" if conn_type is None else f"{_describe(conn_type)} is none of udp, tcp, ethernet"
            self._refuse(told, (*key, "conn_type"), hint)
            return ""
        return str(conn_type)

    def _address(self, address: Any, key: Key) -> tuple[str, int]:
        number: Any = None
        if isinstance(address, list) and len(address) == 2 and isinstance(address[0], str | None):
            number = address[1]
            if isinstance(number, str):
                try:
                    number = int(number[:10], 0)
                except ValueError:
                    number = None
                else:
                    self._warn(f"{address[1]!r} is taken as a number; AIT fails", key)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 65535:
            self._refuse("expected [host, port], for ethernet [interface, protocol]", key)
            return "", 0
        host = address[0] or ""
        return host, number

    def _capture(self, conn_type: str, address: tuple[str, int], key: Key) -> dict[str, Any]:
        """The table of a socket; as in AIT, handlers of one address share it."""
        capture = self._captures.get(repr(address))
        if capture is None:
            if conn_type == "tcp" and not address[0]:
                self._refuse("a TCP handler connects: its host is missing", (*key, "address"))
            stem = _BAD_IN_NAME.sub("-", "-".join(filter(None, (conn_type, address[0], str(address[1])))))[:50]
            name = self._free(stem, {each["name"] for each in self._captures.values()})
            capture = {"name": name, "conn_type": conn_type, "address": list(address), "handler": []}
            self._captures[repr(address)] = capture
        elif capture["conn_type"] != conn_type:
            other = capture["conn_type"]
            text = f"is {conn_type!r}, but the address was opened as {other!r} by a handler before: AIT ignores it, and"
            self._warn(f"{text} so does this file", (*key, "conn_type"))
        return capture

    def _unique_name(self, written: str, key: Key) -> str:
        name = _BAD_IN_NAME.sub("-", written).strip("-._")[:60] or "handler"
        unique = self._free(name, self._names)
        self._names.add(unique)
        if unique != name:
            self._warn(f"{written!r} is used twice; this one is {unique!r} now", (*key, "name"))
        elif name != written:
            self._warn(f"{written!r} cannot be a name here and is {name!r} now; paths keep it", (*key, "name"))
        return unique

    @staticmethod
    def _free(name: str, taken: set[str]) -> str:
        number = 1
        unique = name
        while unique in taken:
            number += 1
            unique = f"{name}-{number}"
        return unique

    # ── where its files go ──

    def _paths_of(self, handler: Mapping[Any, Any], written: str, name: str, root: str, key: Key) -> dict[str, str]:
        more = {str(k): v for k, v in handler.items() if k not in ("name", "path") and isinstance(v, _SCALARS)}
        values = {"rotate_log": True, "conn_type": handler["conn_type"], **more}
        if name != written:
            values["name"] = written
        path, pattern = handler.get("path"), handler.get("file_name_pattern")
        self._tell_of_keys(handler, key)
        try:
            base = posixpath.join(root, str(path)) if path else root
            text = str(pattern) if pattern else DEFAULT_PATTERN
            folder, file = split_pattern(convert_pattern(base, values), convert_pattern(text, values))
        except ValueError as exc:
            self._refuse(str(exc), (*key, "file_name_pattern" if pattern else "path"))
            return {}
        if path and str(path).startswith("/"):
            self._warn("is absolute and not below root_log_directory, in AIT as well", (*key, "path"))
        if file.endswith(".part"):
            self._refuse(
                'must not end in ".part", which marks files that are being written', (*key, "file_name_pattern")
            )
        if (whole := f"{folder}/{file}".replace("{name}", name)) in self._paths:
            file = f"{{name}}-{file}"
            self._warn(f"another handler writes the same files, AIT would mix both: this one writes {file!r}", key)
        self._paths.add(whole)
        return {"log_dir": folder, "file_name_pattern": file}

    def _tell_of_keys(self, handler: Mapping[Any, Any], key: Key) -> None:
        for other in handler.keys() - KNOWN:
            used = any(f"{{{other}}}" in str(handler.get(each) or "") for each in ("path", "file_name_pattern"))
            text = "its value is written into the paths" if used else "means nothing to AIT and is left out"
            self._warn(text, (*key, str(other)[:60]))

    # ── when they end ──

    def _rotation(self, handler: Mapping[Any, Any], key: Key) -> dict[str, Any]:
        rotate, index = handler.get("rotate_log", True), handler.get("rotate_log_index", "day")
        if not isinstance(rotate, bool):
            self._warn(f"{_describe(rotate)} is taken as {bool(rotate)}, as in AIT", (*key, "rotate_log"))
        if not rotate:
            return {"rotate_log": False}
        if not isinstance(index, str) or index not in INDEXES:
            self._warn(f'{_describe(index)} is no unit: as in AIT it means "day"', (*key, "rotate_log_index"))
            index = "day"
        delta = self._delta(handler.get("rotate_log_delta", 1), (*key, "rotate_log_delta"))
        if delta < 1:
            self._warn("less than 1 is a new file for each packet, as in AIT", (*key, "rotate_log_delta"))
            return {"rotate_log": False, "rotate_packets": 1}
        if delta > 1:
            text = f"{delta} is real elapsed time on the clock's multiples; AIT compares fields of the calendar and"
            self._warn(f"{text} rotates earlier", (*key, "rotate_log_delta"))
        return {"rotate_log": True, "rotate_log_index": index, "rotate_log_delta": delta}

    def _delta(self, delta: Any, key: Key) -> int:
        number = delta
        if isinstance(delta, str):
            try:
                number = float(delta)
            except ValueError:
                number = None
            else:
                self._warn(f"{delta!r} is taken as a number; AIT fails at the first packet", key)
        if isinstance(number, bool) or not isinstance(number, int | float) or not -MAX_DELTA <= number <= MAX_DELTA:
            self._refuse(f"expected a number up to {MAX_DELTA}, got {_describe(delta)}", key)
            return 1
        if number != math.ceil(number):
            self._warn(f"{number} is rounded up to {math.ceil(number)}, which is what it means in AIT", key)
        return math.ceil(number)

    def _transforms(self, transforms: Any, key: Key) -> None:
        for name in transforms if isinstance(transforms, list) else [transforms] if transforms else []:
            if name == "identity_transform":
                self._warn("identity_transform changes nothing and is left out", key)
            else:
                text = f"{_describe(name)} names something in AIT's own module and is left out; write"
                self._warn(f'{text} pre_write_transforms = ["your_module:function"]', key)
