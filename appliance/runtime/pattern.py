"""Path patterns: strftime directives (UTC) and ``{field}`` make the name of an output file, and nothing else does.

Pure: nothing here looks at the clock or the disk. The pattern is the operator's; the values of the fields come from the
network and can neither leave their path component nor take the name of another value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Literal, NamedTuple

__all__ = ["MAX_COUNTER", "PART_SUFFIX", "PathPattern", "numbered", "safe_name"]

PART_SUFFIX = ".part"
"""Ending of a file that is being written."""
MAX_COUNTER = 999_999
"""Largest number that tells files of one name apart."""

_NAME_MAX = 255  # bytes in one path component, limits.h
_RESERVED = 24  # of these for "-999999", ".part", a compressor's ".zst" and the two bytes of `_hide_part`
_DIGEST = 20  # bytes; 160 bits, because the values to tell apart may be chosen by an adversary
_LIMIT_MIN = 48  # bytes for a field: "@", the digest in hex, and a few of the value's own

# "@" is never in an encoded value, so what is made up here cannot be taken for one.
_EMPTY = "@unknown"
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_SAFE_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
_ENCODED = tuple(chr(byte) if byte in _SAFE_BYTES else f"%{byte:02X}" for byte in range(256))
_FIELD_REGEX = (
    rf"(?:{_EMPTY}|(?:[A-Za-z0-9_-]|%[0-9A-F]{{2}})(?:[A-Za-z0-9_.-]|%[0-9A-F]{{2}})*(?:@[0-9a-f]{{{2 * _DIGEST}}})?)"
)

_TOKEN = re.compile(r"(?P<text>[^%{}]+)|%(?P<time>.)|(?P<pair>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<bad>.)", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SUFFIXES = re.compile(r"(.+?)((?:\.[A-Za-z][A-Za-z0-9]{0,7})?(?:\.(?:gz|zst|xz|bz2|lz4))?)", re.DOTALL)
_COUNTED = re.compile(r"(.+)-([1-9][0-9]{0,5})", re.DOTALL)

# English whatever the locale: a file's name must not depend on who started the process.
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_S = 10**9
_DAY = 86400 * _S
_END_NS = 253_402_300_800 * _S  # the year 10000, which datetime cannot hold


def _any_of(names: tuple[str, ...], length: int) -> str:
    return f"(?:{'|'.join(name[:length] for name in names)})"


class _Directive(NamedTuple):
    granule_ns: int
    """What it renders is constant between two multiples of this; a day is the longest, for months are uneven."""
    width: int
    regex: str


_DIRECTIVES = {
    **dict.fromkeys("YG", _Directive(_DAY, 4, "[0-9]{4}")),
    **dict.fromkeys("ymdUWV", _Directive(_DAY, 2, "[0-9]{2}")),
    "j": _Directive(_DAY, 3, "[0-9]{3}"),
    "a": _Directive(_DAY, 3, _any_of(_DAYS, 3)),
    "A": _Directive(_DAY, 9, _any_of(_DAYS, 9)),
    "b": _Directive(_DAY, 3, _any_of(_MONTHS, 3)),
    "B": _Directive(_DAY, 9, _any_of(_MONTHS, 9)),
    "H": _Directive(3600 * _S, 2, "[0-9]{2}"),
    "M": _Directive(60 * _S, 2, "[0-9]{2}"),
    "S": _Directive(_S, 2, "[0-9]{2}"),
    "s": _Directive(_S, 12, "[0-9]{1,12}"),
    "f": _Directive(1000, 6, "[0-9]{6}"),
}


class _Part(NamedTuple):
    kind: Literal["text", "time", "field"]
    text: str
    """The literal text, the directive's letter, or the field's name."""

    @property
    def width(self) -> int:
        """Bytes it may render to; 0 for a field, whose share is worked out from what the others leave."""
        if self.kind == "text":
            return len(self.text.encode())
        return _DIRECTIVES[self.text].width if self.kind == "time" else 0

    @property
    def regex(self) -> str:
        if self.kind == "text":
            return re.escape(self.text)
        return _DIRECTIVES[self.text].regex if self.kind == "time" else _FIELD_REGEX


class _Component(NamedTuple):
    parts: list[_Part]
    limit: int = 0
    """Bytes for each field."""

    @property
    def literal(self) -> str | None:
        """Its name if it is always the same."""
        return "".join(part.text for part in self.parts) if all(part.kind == "text" for part in self.parts) else None

    @property
    def regex(self) -> re.Pattern[str]:
        return re.compile("".join(part.regex for part in self.parts))


def safe_name(value: str, *, limit_bytes: int = _NAME_MAX - _RESERVED) -> str:
    """A path component, or a piece of one, for a value that nobody vouches for.

    Letters, digits, ``_``, ``.`` and ``-`` stay; a leading dot and every other byte of the UTF-8 form become ``%XX``.
    The empty value is ``@unknown``. What is longer than `limit_bytes` (at least 48) is cut and ends in ``@`` and a hash
    of the whole. Different values have different names, and no name is empty, starts with a dot or holds a slash.
    """
    assert limit_bytes >= _LIMIT_MIN
    if len(value) <= limit_bytes and _SAFE.fullmatch(value):
        return value
    if not value:
        return _EMPTY
    data = value.encode("utf-8", "surrogatepass")
    name = ("%2E" if data[0] == ord(".") else _ENCODED[data[0]]) + "".join([_ENCODED[byte] for byte in data[1:]])
    if len(name) <= limit_bytes:
        return name
    head = name[: limit_bytes - 2 * _DIGEST - 1]
    if "%" in head[-2:]:
        head = head[: head.rindex("%")]
    return f"{head}@{hashlib.blake2b(data, digest_size=_DIGEST).hexdigest()}"


def numbered(path: str, counter: int) -> str:
    """`path` with `counter` before its suffixes: ``06.log`` → ``06-1.log``, ``a.log.gz`` → ``a-1.log.gz``; 0: as it is.

    A suffix is one dot and up to eight letters or digits, not beginning with a digit: ``10.0.0.1`` has none.
    """
    if not counter:
        return path
    folder, slash, name = path.rpartition("/")
    match = _SUFFIXES.fullmatch(name)
    assert match, path
    stem, suffixes = match.groups()
    return f"{folder}{slash}{stem}-{counter}{suffixes}"


def _without_counter(name: str) -> tuple[str, int]:
    match = _SUFFIXES.fullmatch(name)
    counted = match and _COUNTED.fullmatch(match[1])
    return (counted[1] + match[2], int(counted[2])) if match and counted else (name, 0)


def _hide_part(path: str) -> str:
    """A finished file must never look like one that is being written, whatever values make up its name."""
    return f"{path.removesuffix(PART_SUFFIX)}%2Epart" if path.endswith(PART_SUFFIX) else path


def _parse(template: str, fields: AbstractSet[str]) -> Iterator[_Part]:
    for match in _TOKEN.finditer(template):
        text, place = match[0], f"at character {match.start() + 1}"
        if match.lastgroup == "text":
            if bad := _UNPRINTABLE.search(text):
                raise ValueError(f"{bad[0]!r} at character {match.start() + bad.start() + 1} must not be in a path")
            yield _Part("text", text)
        elif match.lastgroup == "pair" or text == "%%":
            yield _Part("text", text[0])
        elif match.lastgroup == "time":
            if match["time"] not in _DIRECTIVES:
                allowed = " ".join(f"%{letter}" for letter in (*_DIRECTIVES, "%"))
                raise ValueError(f"{text!r} {place} is no directive; allowed: {allowed}")
            yield _Part("time", match["time"])
        elif match.lastgroup == "field":
            if match["field"] not in fields:
                allowed = " ".join(f"{{{name}}}" for name in sorted(fields)) or "none"
                raise ValueError(f"{text!r} {place} is no field; allowed: {allowed}")
            yield _Part("field", match["field"])
        else:
            raise ValueError(f"single {text!r} {place}; write {text * 2!r} for the character itself")


def _split(parts: Iterator[_Part]) -> list[_Component]:
    """The components of an absolute path, `limit` not yet known; empty ones and ``.`` are left out."""
    components: list[_Component] = [_Component([])]
    for part in parts:
        texts = part.text.split("/") if part.kind == "text" else [""]
        for index, text in enumerate(texts):
            if index:
                components.append(_Component([]))
            if part.kind != "text":
                components[-1].parts.append(part)
            elif text:
                components[-1].parts.append(_Part("text", text))
    if components[-1].literal in ("", "."):
        raise ValueError("names a directory, not a file")
    return [component for component in components if component.literal not in ("", ".")]


def _share(component: _Component) -> _Component:
    """Divide the bytes of a name among the component's fields."""
    room = _NAME_MAX - _RESERVED - sum(part.width for part in component.parts)
    fields = sum(part.kind == "field" for part in component.parts)
    limit = room // max(fields, 1)
    if room < 0 or (fields and limit < _LIMIT_MIN):
        raise ValueError(f"a file or directory name may become longer than {_NAME_MAX} bytes")
    return component._replace(limit=limit)


class PathPattern:
    """An absolute path with strftime directives (UTC) and fields, e.g. ``/srv/logs/{path}/%Y-%m-%d-%H.log``.

    ``%%``, ``{{`` and ``}}`` stand for the characters themselves. Fields know no attributes, indexes, conversions or
    formats. The values become names as `safe_name` says; in addition a file name that would end in ``.part`` ends in
    ``%2Epart``, so that no value can make a finished file look unfinished.

    Args:
        template: the pattern, absolute; see `escape` for putting a directory in front of a relative one.
        fields: the names that may be used.

    Raises:
        ValueError: something that is not allowed, with its place and what is.
    """

    def __init__(self, template: str, *, fields: AbstractSet[str]) -> None:
        components = _split(_parse(template, fields))
        if not template.startswith("/"):
            raise ValueError(f"{template!r} is not an absolute path")
        if any(component.literal == ".." for component in components):
            raise ValueError("'..' must not be in a path pattern")
        last = components[-1].parts[-1]
        if last.kind == "text" and last.text.endswith(PART_SUFFIX):
            raise ValueError(f"the name must not end in {PART_SUFFIX!r}: that marks files being written")
        fixed = 0
        while fixed < len(components) - 1 and components[fixed].literal is not None:
            fixed += 1
        self.template = template
        self._prefix = "".join(f"/{component.literal}" for component in components[:fixed])
        self._components = [_share(component) for component in components[fixed:]]
        self._levels = tuple(component.regex for component in self._components)
        parts = [part for component in components for part in component.parts]
        self._fields = frozenset(part.text for part in parts if part.kind == "field")
        self._granularity_ns = min(
            (_DIRECTIVES[part.text].granule_ns for part in parts if part.kind == "time"), default=None
        )

    @staticmethod
    def escape(literal: str) -> str:
        """A template that renders to `literal`: for directories that are put in front of a pattern."""
        return literal.replace("%", "%%").replace("{", "{{").replace("}", "}}")

    @property
    def used_fields(self) -> frozenset[str]:
        """The fields that the path depends on."""
        return self._fields

    @property
    def granularity_ns(self) -> int | None:
        """Nanoseconds: with equal fields the path is the same between two multiples of it. None: it never changes.

        That is the finest directive's unit, e.g. 3600e9 for ``%H``; a day at most, since weeks, months and years begin
        at different multiples. ``time_ns // granularity_ns`` is the key for a cache of rendered paths.
        """
        return self._granularity_ns

    @property
    def static_root(self) -> str:
        """The longest leading directory without directives and fields: every file is in or below it."""
        return self._prefix or "/"

    @property
    def levels(self) -> tuple[re.Pattern[str], ...]:
        """One expression for each component below `static_root`, the file name last, without counter and ``.part``."""
        return self._levels

    def render(self, time_ns: int, fields: Mapping[str, str]) -> str:
        """The absolute path of a file for that time and these values.

        Args:
            time_ns: nanoseconds since the epoch.
            fields: a value for each of `used_fields`; any text at all.

        Raises:
            ValueError: the time is before 1970 or after 9999.
        """
        if not 0 <= time_ns < _END_NS:
            raise ValueError(f"time {time_ns} ns is out of range")
        seconds, rest_ns = divmod(time_ns, _S)
        when = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
        pieces = [self._prefix]
        for component in self._components:
            pieces.append("/")
            for kind, text in component.parts:
                if kind == "text":
                    pieces.append(text)
                elif kind == "time":
                    pieces.append(_render_time(text, when))
                else:
                    pieces.append(safe_name(fields[text], limit_bytes=component.limit))
        return _hide_part("".join(pieces))

    def parse(self, path: str) -> tuple[str, int] | None:
        """Take ``.part`` and the counter off a path that may have come from this pattern.

        Returns:
            What `render` may have returned and the counter (0: none), such that `numbered` of the two is the path
            without ``.part``; None if the path cannot be this pattern's.
        """
        if not path.startswith(self._prefix + "/"):
            return None
        folder, _, name = path.removesuffix(PART_SUFFIX).rpartition("/")
        folders = folder[len(self._prefix) + 1 :].split("/") if folder != self._prefix else []
        *levels, last = self._levels
        if len(folders) != len(levels) or not all(map(re.Pattern.fullmatch, levels, folders)):
            return None
        for plain, counter in ((name, 0), _without_counter(name)):
            if last.fullmatch(plain) or (plain.endswith("%2Epart") and last.fullmatch(f"{plain[:-7]}{PART_SUFFIX}")):
                return f"{folder}/{plain}", counter
        return None

    def matches(self, path: str) -> bool:
        """Whether `path` can have come from this pattern, also with a counter and ``.part``."""
        return self.parse(path) is not None


def _render_time(letter: str, when: datetime) -> str:
    match letter:
        case "a" | "A":
            return _DAYS[when.weekday()][: _DIRECTIVES[letter].width]
        case "b" | "B":
            return _MONTHS[when.month - 1][: _DIRECTIVES[letter].width]
        case "s":  # strftime would take the time for local time
            return str(int(when.replace(microsecond=0).timestamp()))
    return when.strftime(f"%{letter}")
