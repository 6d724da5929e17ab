"""The INI files of zeekctl and of Zeek's systemd generator, with places for messages."""

from __future__ import annotations

import msgspec

from .layout import LayoutError, decode_layout

__all__ = ["Option", "Section", "parse_ini"]


class Option(msgspec.Struct, frozen=True):
    """One ``key = value``."""

    value: str
    """Continuation lines are joined with blanks."""
    line: int


class Section(msgspec.Struct, frozen=True):
    """One section."""

    name: str
    """As written; empty in front of the first header."""
    line: int
    options: dict[str, Option]
    """By keys in small letters."""


def parse_ini(data: bytes, file: str, *, signs: str = "=") -> tuple[Section, ...]:
    """Read sections in their order; the first one is the nameless one, if it has options.

    Args:
        data: the file, or the first `MAX_BYTES` + 1 bytes of it.
        file: its name, for messages.
        signs: between a key and its value, any of these.

    Raises:
        LayoutError: too large, a line that is none of this format, or a section or key that occurs twice.

    Source: Python, ``configparser``; Zeek, ``tools/systemd-generator/src/zeek-cluster-config.cc``.
    """
    sections = {"": Section("", 1, {})}
    current, last_key = sections[""], ""
    rests: list[tuple[Section, str, list[str]]] = []
    for number, line in enumerate(decode_layout(data, file).split("\n"), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        if text.startswith("["):
            current, last_key = _open_section(text, number, sections, file), ""
        elif line[0] in " \t" and last_key:
            if not rests or rests[-1][0] is not current or rests[-1][1] != last_key:
                rests.append((current, last_key, []))
            rests[-1][2].append(text)
        else:
            last_key = _read_option(text, number, current, file, signs)
    for section, key, rest in rests:
        first = section.options[key]
        section.options[key] = Option(" ".join([first.value, *rest]).strip(), first.line)
    return tuple(section for section in sections.values() if section.name or section.options)


def _read_option(text: str, number: int, section: Section, file: str, signs: str) -> str:
    at = min((at for at in map(text.find, signs) if at >= 0), default=len(text))
    key, value = text[:at].strip().lower(), text[at + 1 :]
    if at == len(text) or not key:
        raise LayoutError(f"expected key = value, found {text[:40]!r}", file=file, line=number, column=1)
    if key in section.options:
        raise LayoutError(f"{key!r} is set twice in one section", file=file, line=number, column=1)
    section.options[key] = Option(value.strip(), number)
    return key


def _open_section(text: str, number: int, sections: dict[str, Section], file: str) -> Section:
    header = text.split("#")[0].split(";")[0].rstrip()
    name = header[1:-1].strip()
    if not header.endswith("]") or not name:
        raise LayoutError(f"expected [section], found {text[:40]!r}", file=file, line=number, column=1)
    if name in sections:
        raise LayoutError(f"the section {name!r} occurs twice", file=file, line=number, column=1)
    sections[name] = Section(name, number, {})
    return sections[name]
