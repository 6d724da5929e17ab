"""Indexes of any PCAP: made, checked, and as a command."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import zstandard

from appliance.cli import main
from appliance.errors import ApplianceError
from appliance.extract.indexing import check_index, index_path, make_index
from tests.native.packets import make_pcap, udp_frame

GOLDEN = Path(__file__).parents[1] / "golden" / "pcap" / "mix1.pcap.xz"


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    path = tmp_path / "mix.pcap"
    path.write_bytes(lzma.decompress(GOLDEN.read_bytes()))
    return path


def test_an_index_is_made_and_good(mix: Path) -> None:
    """With the counts of the file; a second time it is replaced."""
    figures = make_index(mix)
    assert (figures.pcap_bytes, figures.torn_bytes) == (mix.stat().st_size, 0)
    assert figures.flows > 150
    assert figures.index_bytes == (mix.parent / "mix.pcap.idx").stat().st_size
    assert check_index(mix) == []
    assert make_index(mix).packets == figures.packets


def test_a_compressed_file_has_the_index_of_its_content(mix: Path) -> None:
    """So it stays good when the file is compressed afterwards."""
    make_index(mix)
    packed = mix.with_name("mix.pcap.zst")
    packed.write_bytes(zstandard.compress(mix.read_bytes()))
    mix.unlink()
    assert index_path(packed) == mix.with_name("mix.pcap.idx")
    assert check_index(packed) == []
    assert make_index(packed).flows > 150


def test_what_is_wrong_with_an_index(mix: Path) -> None:
    """It is missing, damaged, of another file, or does not lead to the packets."""
    assert check_index(mix) == ["there is no index"]
    index = index_path(mix)
    index.write_bytes(b"nonsense" * 1000)
    assert "cannot be used" in check_index(mix)[0]
    make_index(mix)
    content = mix.read_bytes()
    mix.write_bytes(content + content[24 : 24 + 16 + int.from_bytes(content[32:36], "little")])
    assert any(each.startswith("packets is ") for each in check_index(mix))
    frames = [udp_frame("10.0.0.1", "10.0.0.2", (i, 9)) for i in range(600)]
    for order in (frames, frames[::-1]):
        mix.write_bytes(make_pcap([(i + 1, frame, 60) for i, frame in enumerate(order)]))
        if order is frames:
            make_index(mix)
    assert "does not lead to all packets" in check_index(mix)[0]


def test_what_is_no_pcap(tmp_path: Path) -> None:
    """It is refused, and no index is left; so is what is not there."""
    path = tmp_path / "x.pcap"
    path.write_bytes(b"something else, and long enough for a header")
    for each in (path, tmp_path / "none.pcap"):
        with pytest.raises(ApplianceError):
            make_index(each)
    assert list(tmp_path.iterdir()) == [path]


def test_the_command(mix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each file; what is torn or does not fit is exit code 3, what cannot be read 1."""
    assert main(["pcap", "index", "--check", str(mix)]) == 3
    assert main(["pcap", "index", str(mix)]) == 0
    assert main(["pcap", "index", "--check", str(mix)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("mix.pcap.idx: there is no index")
    assert "packets, " in shown[1]
    assert shown[2].endswith("mix.pcap.idx: good")
    mix.write_bytes(mix.read_bytes()[:-1])
    assert main(["pcap", "index", str(mix)]) == 3
    assert main(["pcap", "index", str(mix), str(mix.parent / "none.pcap")]) == 1
    shown_error = capsys.readouterr().err
    assert "no whole packet" in shown_error
    assert "none.pcap" in shown_error
