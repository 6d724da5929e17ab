"""Files of masters: the same as Broker's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.broker.stores.backend import SqliteBackend
from appliance.wire.stores.commands import NOBODY
from appliance.wire.stores.outputs import ChangeKind, StoreChange
from appliance.zeek.binary import encode
from appliance.zeek.values import Count, Table, Value, Vector


def write_as_broker(path: Path, rows: list[tuple[bytes, bytes, int | None]], version: str = "2.8.0") -> None:
    """A file with the schema that Zeek's masters make."""
    with sqlite3.connect(path) as db:
        db.execute("create table meta (key text primary key, value text)")
        db.execute("create table store (key blob primary key, value blob, expiry integer)")
        db.execute("insert into meta values ('broker_version', ?)", (version,))
        db.executemany("insert into store values (?, ?, ?)", rows)
    db.close()


def change(kind: str, key: Value, value: Value | None = None, expiry_ns: int | None = None) -> StoreChange:
    data = None if value is None else encode(value)
    return StoreChange(ChangeKind(kind), encode(key), data, None, expiry_ns, NOBODY)


def test_a_file_that_zeek_wrote(tmp_path: Path) -> None:
    """Is opened, with what is to expire; and is one of Zeek's afterwards, too."""
    path = tmp_path / "zeek.sqlite"
    rows = [
        (encode(b"one"), encode(Count(1)), None),
        (encode(Vector([Count(1), b"x"])), encode(Table([(b"k", 1.5)])), 1_700_000_000_000_000_000),
    ]
    write_as_broker(path, rows)
    backend = SqliteBackend(path)
    assert sorted(backend.open()) == sorted(rows)
    backend.keep([change("update", b"one", Count(2), 5), change("insert", b"two", b"x")])
    backend.close()
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        tables = db.execute("select name, sql from sqlite_master where type = 'table' order by name").fetchall()
        assert [name for name, _ in tables] == ["meta", "store"]
        assert db.execute("select * from meta").fetchall() == [("broker_version", "2.8.0")]
        columns = db.execute("select name, type, pk from pragma_table_info('store')").fetchall()
        assert [(name, kind.lower(), key) for name, kind, key in columns] == [
            ("key", "blob", 1), ("value", "blob", 0), ("expiry", "integer", 0),
        ]  # fmt: skip
        assert db.execute("select value, expiry from store where key = ?", (encode(b"one"),)).fetchone() == (
            encode(Count(2)), 5,
        )  # fmt: skip
        assert db.execute("select count(*) from store").fetchone() == (3,)
    db.close()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """Says which file, and what about it; nothing of it is changed."""
    for name, content in {
        "text": b"this is no database, and long enough to be seen as none" * 20,
        "folder": None,
    }.items():
        path = tmp_path / name
        path.mkdir() if content is None else path.write_bytes(content)
        with pytest.raises(OSError, match=str(path)):
            SqliteBackend(path).open()
        assert content is None or path.read_bytes() == content


def test_a_file_of_another_broker(tmp_path: Path) -> None:
    """Is left alone."""
    path = tmp_path / "old.sqlite"
    write_as_broker(path, [], "1.4.0")
    with pytest.raises(OSError, match=r"written by Broker 1\.4\.0"):
        SqliteBackend(path).open()


def test_a_file_that_another_process_has(tmp_path: Path) -> None:
    """Is not shared."""
    path = tmp_path / "one.sqlite"
    backend = SqliteBackend(path)
    backend.open()
    other = SqliteBackend(path)
    other.timeout_s = 0.0
    with pytest.raises(OSError, match="locked"):
        other.open()
    backend.close()


changes = st.lists(
    st.one_of(
        st.builds(change, st.just("insert"), st.integers(0, 5), st.integers(0, 9), st.none() | st.integers(1, 9)),
        st.builds(change, st.sampled_from(["erase", "expire"]), st.integers(0, 5)),
        st.just(StoreChange(ChangeKind.CLEAR, b"", None, None, None, NOBODY)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(changes, max_size=4))
def test_what_is_kept_is_what_happened(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[StoreChange]]
) -> None:
    """In its order, whatever follows whatever."""
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    backend = SqliteBackend(path)
    backend.open()
    model: dict[bytes, tuple[bytes, int | None]] = {}
    for step in steps:
        backend.keep(step)
        for each in step:
            if each.kind is ChangeKind.CLEAR:
                model.clear()
            elif each.value is None:
                model.pop(each.key, None)
            else:
                model[each.key] = (each.value, each.expiry_ns)
    backend.close()
    again = SqliteBackend(path)
    assert {key: (value, expiry_ns) for key, value, expiry_ns in again.open()} == model
    again.close()
