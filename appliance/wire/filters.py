"""Filters: the topics that an endpoint wants, as prefixes; how they are transmitted and matched.

A topic matches if an entry is a prefix of it, byte by byte: there are no wildcards and no components.

Source: Broker, ``broker/filter_type.hh``, ``broker/topic.cc``, ``broker/detail/prefix_matcher.cc``.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.wire.names import LOCAL_PREFIX
from appliance.zeek.binary import read_varbyte, write_varbyte
from appliance.zeek.schema import as_bytes, as_text

__all__ = ["MAX_ENTRIES", "PrefixSet", "decode_filter", "encode_filter", "minimal", "read_filter"]

MAX_ENTRIES = 10_000
"""Entries in a filter that we take. A Zeek node has about ten, and one more for each data store."""

_CACHED_TOPICS = 1024  # a Zeek cluster uses some tens; a topic may have 64 KiB
_CACHED_TOPIC_LENGTH = 256


def encode_filter(prefixes: Iterable[str]) -> bytes:
    """Write a filter, in the order of the entries.

    Raises:
        LocalProtocolError: an entry that is not text.
    """
    try:
        entries = [as_bytes(prefix) for prefix in prefixes]
    except ValueError as exc:
        raise LocalProtocolError(f"a topic that cannot be transmitted: {exc}") from exc
    parts = [write_varbyte(len(entries))]
    for entry in entries:
        parts += (write_varbyte(len(entry)), entry)
    return b"".join(parts)


def decode_filter(data: bytes, *, max_entries: int = MAX_ENTRIES) -> tuple[str, ...]:
    """Read a filter with nothing behind it.

    Raises:
        RemoteProtocolError: not a filter, or one with more entries than are taken.
    """
    prefixes, end = read_filter(data, 0, max_entries=max_entries)
    if end != len(data):
        raise RemoteProtocolError(f"{len(data) - end} bytes behind a filter")
    return prefixes


def read_filter(data: bytes, offset: int, *, max_entries: int = MAX_ENTRIES) -> tuple[tuple[str, ...], int]:
    """Read the filter at an offset.

    Returns:
        Its entries in their order, and where it ends.

    Raises:
        RemoteProtocolError: not a filter, or one with more entries than are taken.
    """
    count, offset = read_varbyte(data, offset)
    if count > min(max_entries, len(data) - offset):
        raise RemoteProtocolError(f"a filter of {count} entries, more than there are bytes or than are taken")
    prefixes = []
    for _ in range(count):
        length, begin = read_varbyte(data, offset)
        offset = begin + length
        if offset > len(data):
            raise RemoteProtocolError(f"a topic of {length} bytes in a filter that ends before it")
        prefixes.append(as_text(data[begin:offset]))
    return tuple(prefixes), offset


def minimal(prefixes: Iterable[str]) -> tuple[str, ...]:
    """The same filter in its shortest form, as Broker keeps its own: sorted, no entry within another, none local.

    Raises:
        ValueError: an entry that is not text.
    """
    return tuple(as_text(entry) for entry in _minimal(prefixes))


def _minimal(prefixes: Iterable[str]) -> list[bytes]:
    kept: list[bytes] = []
    # As bytes, for text sorts differently where it is not UTF-8, and a prefix may end within a character.
    for entry in sorted({as_bytes(prefix) for prefix in prefixes if not prefix.startswith(LOCAL_PREFIX)}):
        if not kept or not entry.startswith(kept[-1]):
            kept.append(entry)
    return kept


class PrefixSet:
    """What an endpoint wants, ready to be asked for every message.

    Args:
        prefixes: the entries of its filter.

    Raises:
        ValueError: an entry that is not text.
    """

    def __init__(self, prefixes: Iterable[str] = ()) -> None:
        self._entries = _minimal(prefixes)
        self._answers: dict[str, bool] = {}

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The entries in their shortest form."""
        return tuple(as_text(entry) for entry in self._entries)

    def matches(self, topic: str) -> bool:
        """Whether it wants a topic.

        Raises:
            ValueError: the topic is not text.
        """
        answer = self._answers.get(topic)
        if answer is None:
            answer = self._find(as_bytes(topic))
            if len(topic) <= _CACHED_TOPIC_LENGTH:
                if len(self._answers) >= _CACHED_TOPICS:
                    self._answers.clear()
                self._answers[topic] = answer
        return answer

    def _find(self, topic: bytes) -> bool:
        # No entry lies within another, so only the last one that is not behind the topic can be a prefix of it.
        index = bisect.bisect_right(self._entries, topic)
        return index > 0 and topic.startswith(self._entries[index - 1])
