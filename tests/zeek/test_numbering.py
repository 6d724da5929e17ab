"""Zeek's three numberings of types."""

from __future__ import annotations

import pytest

from appliance.errors import LocalProtocolError, RemoteProtocolError
from appliance.zeek.numbering import Numbering, detect_numbering
from appliance.zeek.schema import Field, LogSchema, ZeekType, as_bytes, as_text

TABLE = {
    # type: up to 4.0, 4.1 and 4.2, from 5.0
    ZeekType.VOID: (0, 0, 0),
    ZeekType.BOOL: (1, 1, 1),
    ZeekType.INT: (2, 2, 2),
    ZeekType.COUNT: (3, 3, 3),
    ZeekType.DOUBLE: (5, 4, 4),
    ZeekType.TIME: (6, 5, 5),
    ZeekType.INTERVAL: (7, 6, 6),
    ZeekType.STRING: (8, 7, 7),
    ZeekType.PATTERN: (9, 8, 8),
    ZeekType.ENUM: (10, 9, 9),
    ZeekType.PORT: (12, 11, 10),
    ZeekType.ADDR: (13, 12, 11),
    ZeekType.SUBNET: (14, 13, 12),
    ZeekType.ANY: (15, 14, 13),
    ZeekType.TABLE: (16, 15, 14),
    ZeekType.RECORD: (18, 17, 15),
    ZeekType.LIST: (19, 18, 16),
    ZeekType.FUNC: (20, 19, 17),
    ZeekType.FILE: (21, 20, 18),
    ZeekType.VECTOR: (22, 21, 19),
    ZeekType.OPAQUE: (23, 22, 20),
    ZeekType.TYPE: (24, 23, 21),
    ZeekType.ERROR: (25, 24, 22),
}
GONE = {Numbering.UP_TO_4_0: {4, 11, 17}, Numbering.FROM_4_1: {10, 16}, Numbering.FROM_5_0: set[int]()}


@pytest.mark.parametrize(("column", "numbering"), list(enumerate(Numbering)))
def test_numbers(column: int, numbering: Numbering) -> None:
    """Every type has the number of the table, and no other number has a type."""
    assert {kind: numbering.to_tag(kind) for kind in ZeekType} == {kind: tags[column] for kind, tags in TABLE.items()}
    assert all(numbering.from_tag(numbering.to_tag(kind)) is kind for kind in ZeekType)
    for tag in {-1, 26, 255, 2**31 - 1} | GONE[numbering]:
        with pytest.raises(RemoteProtocolError, match="no type"):
            numbering.from_tag(tag)


def test_newest_numbering_is_the_enum() -> None:
    """From 5.0 on the number is the value."""
    assert all(Numbering.FROM_5_0.to_tag(kind) == kind for kind in ZeekType)


@pytest.mark.parametrize(
    ("columns", "fitting"),
    [
        ({"ts": 6, "id.orig_h": 13, "id.orig_p": 12}, {Numbering.UP_TO_4_0}),
        ({"ts": 5, "id.orig_h": 12, "id.orig_p": 11}, {Numbering.FROM_4_1}),
        ({"ts": 5, "id.orig_h": 11, "id.orig_p": 10}, {Numbering.FROM_5_0}),
        ({"ts": 6}, {Numbering.UP_TO_4_0}),
        ({"ts": 5, "msg": 7}, {Numbering.FROM_4_1, Numbering.FROM_5_0}),
        ({"msg": 7}, set(Numbering)),
        ({}, set(Numbering)),
        ({"ts": 7}, set()),
        ({"ts": 6, "id.resp_h": 11}, set()),
    ],
)
def test_detection(columns: dict[str, int], fitting: set[Numbering]) -> None:
    """Times and addresses of Zeek's own logs give the sender away."""
    assert detect_numbering(columns.items()) == fitting


@pytest.mark.parametrize(
    ("version", "numbering"),
    [
        ("2.6", Numbering.UP_TO_4_0),
        ("3.2.4", Numbering.UP_TO_4_0),
        ("4", Numbering.UP_TO_4_0),
        ("4.0.9", Numbering.UP_TO_4_0),
        ("4.1", Numbering.FROM_4_1),
        ("4.2.2", Numbering.FROM_4_1),
        ("5.0", Numbering.FROM_5_0),
        ("8.0.10", Numbering.FROM_5_0),
        ("10.1", Numbering.FROM_5_0),
    ],
)
def test_versions(version: str, numbering: Numbering) -> None:
    """A configured version selects the numbering."""
    assert Numbering.of_version(version) is numbering


@pytest.mark.parametrize("version", ["", "x", "5.x", "-5", "5" * 40, "v8.0", "\u0665.0"])
def test_what_is_no_version_is_refused(version: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(LocalProtocolError, match="not a Zeek version"):
        Numbering.of_version(version)


def test_changed_schema_is_noticed() -> None:
    """Schemas are equal, and have equal hashes, exactly if nothing differs."""
    field = Field("ts", None, ZeekType.TIME)
    schema = LogSchema(stream="Conn::LOG", writer="W", filter="default", path="conn", fields=(field,))
    same = LogSchema("Conn::LOG", "W", "default", "conn", (Field("ts", None, ZeekType.TIME),))
    assert schema == same
    assert hash(schema) == hash(same)
    others = [
        LogSchema("Conn::LOG", "W", "default", "conn", (field, field)),
        LogSchema("Conn::LOG", "W", "default", "conn", (Field("ts", None, ZeekType.DOUBLE),)),
        LogSchema("Conn::LOG", "W", "default", "conn", (Field("ts", None, ZeekType.TIME, ZeekType.VOID, True),)),
        LogSchema("Conn::LOG", "W", "default", "conn2", (field,)),
        LogSchema("Conn::LOG", "W", "other", "conn", (field,)),
    ]
    assert len({schema, *others}) == 6


def test_names_keep_their_bytes() -> None:
    """A name that is not UTF-8 survives."""
    data = bytes(range(256))
    assert as_bytes(as_text(data)) == data
    with pytest.raises(ValueError, match="surrogates"):
        as_bytes("\ud800")


def test_columns_that_logs_can_have() -> None:
    """Atomic ones, and sets and vectors of atomic ones."""
    loggable = {kind for kind in ZeekType if Field("x", None, kind, ZeekType.STRING).is_loggable}
    assert ZeekType.VECTOR in loggable
    assert ZeekType.RECORD not in loggable
    assert not Field("x", None, ZeekType.VECTOR, ZeekType.TABLE).is_loggable
    assert not Field("x", None, ZeekType.TABLE).is_loggable
