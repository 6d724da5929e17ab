"""The logs in a folder: the same records whichever way they are written."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest
import zstandard

from appliance.errors import RemoteProtocolError
from appliance.logfile import folder as folder_module
from appliance.logfile.folder import LogFolder, read_log

GOLDEN = Path(__file__).parents[1] / "golden" / "tsv"


@pytest.mark.parametrize("block", [200, 1 << 20])
def test_text_and_json_are_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Also compressed, rotated, without a last newline, and with lines longer than a block."""
    monkeypatch.setattr(folder_module, "_BLOCK", block)
    tsv, json = (GOLDEN / "http.log").read_bytes(), gzip.decompress((GOLDEN / "http.json.gz").read_bytes())
    rows = [msgspec.json.decode(line) for line in json.splitlines()]
    (tmp_path / "http.log").write_bytes(tsv)
    (tmp_path / "dns.2026-11-21-02-00-00.log.gz").write_bytes(gzip.compress(tsv))
    (tmp_path / "dns.log").write_bytes(json.rstrip())
    (tmp_path / "ssl.log.zst").write_bytes(zstandard.compress(tsv))
    (tmp_path / "notes.txt").write_text("no log")
    logs = LogFolder(tmp_path)
    assert {path: len(files) for path, files in logs.paths().items()} == {"dns": 2, "http": 1, "ssl": 1}
    assert list(logs.read("http")) == list(logs.read("ssl")) == rows
    assert list(logs.read("dns")) == rows + rows
    assert list(logs.read("conn")) == []


def test_records_come_as_they_are_asked_for(tmp_path: Path) -> None:
    """What is broken behind them does not matter until then."""
    (tmp_path / "conn.log").write_bytes(b'{"n":1}\n{"n":2}\nno record\n')
    records = LogFolder(tmp_path).read("conn")
    assert [next(records), next(records)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(RemoteProtocolError, match="no header and no JSON object"):
        next(records)


@pytest.mark.parametrize("name", ["conn.log.gz", "conn.log.zst"])
def test_a_broken_archive_is_one_error(tmp_path: Path, name: str) -> None:
    """Whichever kind it is."""
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(RemoteProtocolError, match="broken"):
        list(read_log(tmp_path / name))
