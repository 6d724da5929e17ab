"""Lines of log files through the C converter; its agreement with the reader in Python is tested with the tail."""

from __future__ import annotations

import json

import pytest

from appliance.native.lines import (
    ColumnKind,
    LineBuffer,
    LineColumn,
    LineConverter,
    LineFault,
    LineMarks,
    LineStop,
)

COLUMNS = [LineColumn(b'"a":', ColumnKind.COUNT, False), LineColumn(b'"b":', ColumnKind.STRING, True)]


def test_rows_and_refusals_of_an_ascii_log() -> None:
    """Rows come out, the last refused line is named, and a directive stops the call."""
    done = LineConverter(COLUMNS, max_line=20).convert(
        b"?1\tx,-,(empty)\r\n-\t(empty)\n5\nx\t-\n#close\n7\t-\n", 1, LineBuffer()
    )
    assert done.data == b'{"a":1,"b":["x",null,""]}\n{"b":[]}\n'
    assert (done.rows, done.bad, done.large, done.stop) == (2, 2, 0, LineStop.DIRECTIVE)
    assert (done.fault, done.refused, done.column) == (LineFault.VALUE, b"x\t-", 0)
    assert done.consumed == 31


def test_rows_and_refusals_of_a_json_log() -> None:
    """Objects pass as they are; what has no newline is left alone."""
    done = LineConverter(max_line=20).convert(b'{"a": 1}\n[]\n{"b":"' + b"x" * 20 + b'"}\n{"c":2}', 0, LineBuffer())
    assert (done.data, done.rows, done.bad, done.large) == (b'{"a": 1}\n', 1, 1, 1)
    assert (done.fault, done.stop) == (LineFault.LARGE, LineStop.END)


def test_small_buffer_only_takes_more_calls() -> None:
    """A converter that finds no room asks for it, and goes on where it stopped."""
    data = b"".join(b"%d\t%s\n" % (i, b"\\x00" * 500) for i in range(500))
    columns = [LineColumn(b'"a":', ColumnKind.COUNT, False), LineColumn(b'"b":', ColumnKind.STRING, False)]
    buffer, at, rows_read = LineBuffer(), 0, 0
    converter = LineConverter(columns, LineMarks(), max_line=1 << 20)
    while at < len(data):
        done = converter.convert(data, at, buffer)
        assert done.consumed
        assert done.stop in (LineStop.END, LineStop.FULL)
        at, rows_read = at + done.consumed, rows_read + done.rows
    assert rows_read == 500
    assert json.loads(b'{"b":"' + b"\\\\x00" * 500 + b'"}')["b"] == "\\x00" * 500


def test_limits_are_checked() -> None:
    """A converter that could not work is not made."""
    for arguments in ({"max_line": 1}, {"max_line": 100, "marks": LineMarks(separator=b"")}):
        with pytest.raises(ValueError, match="out of range"):
            LineConverter([], **arguments)
    closed = LineConverter(max_line=100)
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.convert(b"", 0, LineBuffer())
