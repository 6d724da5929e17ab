"""The text of files and archives."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path

import pytest

from appliance.logfile.source import ArchiveError, open_source

TEXT = b"".join(b"line %d of some text\n" % i for i in range(50_000))


def packed(path: Path, data: bytes = TEXT) -> Path:
    path.write_bytes(gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]))
    return path


@pytest.mark.parametrize("name", ["a.log", "a.log.gz"])
def test_any_part_can_be_read(tmp_path: Path, name: str) -> None:
    """An archive of several members reads like the file that was packed, forwards and backwards."""
    path = tmp_path / name
    if name.endswith(".gz"):
        packed(path)
    else:
        path.write_bytes(TEXT)
    source = open_source(str(path))
    rng = random.Random(1)
    for _ in range(60):
        offset, size = rng.randrange(len(TEXT) + 100), rng.choice([1, 100, 300_000])
        assert source.read(offset, size) == TEXT[offset : offset + size]
        assert source.head(4096) == TEXT[:4096]
    source.close()


def test_archive_that_grows_is_read_as_it_grows(tmp_path: Path) -> None:
    """The end of what is there is not the end of the archive."""
    data = packed(tmp_path / "whole.gz").read_bytes()
    path = tmp_path / "a.gz"
    path.write_bytes(b"")
    source = open_source(str(path))
    text = b""
    for start in range(0, len(data), 999):
        with path.open("ab") as file:
            file.write(data[start : start + 999])
        while block := source.read(len(text), 100_000):
            text += block
    assert text == TEXT
    source.close()


def test_bomb_is_unpacked_bit_by_bit(tmp_path: Path) -> None:
    """A block of text is all that is in memory, whatever the archive holds."""
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(100 << 20)))
    source = open_source(str(path))
    assert len(source.read(0, 1000)) == 1000
    assert sum(sys.getsizeof(value) for value in vars(source).values()) < 1 << 20
    source.close()


def test_broken_archive_is_an_error(tmp_path: Path) -> None:
    """Not an end."""
    path = packed(tmp_path / "a.gz")
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))  # where the checksum was
    source = open_source(str(path))
    with pytest.raises(ArchiveError, match="broken gzip"):
        source.read(0, 1 << 22)
    source.close()


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading zstd needs a package that need not be there."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "a.zst").write_bytes(b"")
    with pytest.raises(ArchiveError, match="zstandard"):
        open_source(str(tmp_path / "a.zst"))


def test_zstd_archive_reads_like_its_text(tmp_path: Path) -> None:
    """As gzip, if the package is there."""
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(TEXT[:1000]) + zstandard.compress(TEXT[1000:]))
    source = open_source(str(path))
    assert source.read(990, 100_000) == TEXT[990:100_990]
    assert source.read(0, 10) == TEXT[:10]
    source.close()


def test_only_files_are_opened(tmp_path: Path) -> None:
    """A FIFO would keep us waiting for ever."""
    with pytest.raises(OSError, match="not a regular file"):
        open_source(str(tmp_path))
