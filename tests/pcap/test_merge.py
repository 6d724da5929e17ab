"""Merging, against mergecap and a sort."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RemoteProtocolError
from appliance.pcap.merge import Merge
from appliance.pcap.write import Output, new_file

from .build import ETHERNET, enhanced, header, interface, read, record, section, udp_frame

S = 10**9
T0 = 1_795_254_931 * S


def write(folder: Path, files: list[list[int]]) -> list[Path]:
    """One file for each list of times; the packet says where it is from."""
    paths = []
    for number, times in enumerate(files):
        path = folder / f"{number}.pcap"
        path.write_bytes(header() + b"".join(record(t, f"{number} {i}".encode()) for i, t in enumerate(times)))
        paths.append(path)
    return paths


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=8).map(sorted), max_size=6), st.integers(0, 50), st.integers(0, 50)
)
def test_packets_come_in_the_order_of_time(files: list[list[int]], low: int, high: int) -> None:
    """Equal times in the order of the files; only those in the range."""
    with TemporaryDirectory() as folder:
        merge = Merge(write(Path(folder), files), from_ns=low, to_ns=high)
        found = [(packet.ts_ns, packet.data.decode()) for packet in merge.packets()]
    everything = [(t, n, i) for n, times in enumerate(files) for i, t in enumerate(times) if low <= t < high]
    assert found == [(t, f"{n} {i}") for t, n, i in sorted(everything)]


@given(st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=4))
def test_the_order_within_a_file_is_kept(files: list[list[int]]) -> None:
    """Also where it is not that of time; nothing is lost."""
    with TemporaryDirectory() as folder:
        found = [packet.data.decode().split() for packet in Merge(write(Path(folder), files)).packets()]
    for number, times in enumerate(files):
        assert [int(i) for n, i in found if int(n) == number] == list(range(len(times)))


def test_mergecap_does_the_same(tmp_path: Path) -> None:
    """Packet for packet, byte for byte of what a packet holds."""
    frames = [udp_frame(1000 + i) for i in range(300)]
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for number, path in enumerate(paths):
        mine = [(T0 + i * S // 10, frame) for i, frame in enumerate(frames) if i % 3 == number or not i % 7]
        path.write_bytes(header() + b"".join(record(*each) for each in mine))
    subprocess.run(["mergecap", "-F", "nsecpcap", "-w", tmp_path / "theirs", *paths], check=True, capture_output=True)
    with new_file(tmp_path / "ours") as file:
        output = Output(file, "pcap")
        for packet in Merge(paths).packets():
            output.add(packet)
        output.end(ETHERNET)
    assert (tmp_path / "ours").read_bytes()[24:] == (tmp_path / "theirs").read_bytes()[24:]


def test_files_that_follow_each_other_are_open_one_at_a_time(tmp_path: Path) -> None:
    """A day of segments needs no more descriptors than one."""
    paths = write(tmp_path, [[i * 100, i * 100 + 50] for i in range(30)])
    most = 0
    before = open_files()
    for _ in Merge(paths).packets():
        most = max(most, open_files() - before)
    assert most == 1
    assert open_files() == before


def test_leaving_early_closes_the_files(tmp_path: Path) -> None:
    """All that are open."""
    before = open_files()
    packets = Merge(write(tmp_path, [[1, 9], [2, 9], [3, 9]])).packets()
    assert [next(packets).ts_ns for _ in range(3)] == [1, 2, 3]
    assert open_files() == before + 3
    packets.close()  # type: ignore[attr-defined]
    assert open_files() == before


def test_flaws_are_collected(tmp_path: Path) -> None:
    """What stands before is taken."""
    paths = write(tmp_path, [[1, 2], [3, 4]])
    with paths[0].open("ab") as file:
        file.write(b"torn")
    merge = Merge(paths)
    assert len(list(merge.packets())) == 4
    assert [(flaw.path, flaw.torn) for flaw in merge.flaws] == [(paths[0], 4)]


def test_what_is_no_capture_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Nobody waits for the end of a merge to learn of it."""
    paths = write(tmp_path, [[1]])
    (tmp_path / "text").write_text("something else")
    with pytest.raises(RemoteProtocolError, match="text: is no capture file"):
        Merge([*paths, tmp_path / "text"])


def test_link_types_are_known_before(tmp_path: Path) -> None:
    """Those of the first blocks."""
    (tmp_path / "a").write_bytes(section() + interface(linktype=101) + interface() + enhanced(1, b"x"))
    assert Merge([tmp_path / "a", *write(tmp_path, [[1]])]).linktypes == {1, 101}
    assert len(read(tmp_path / "a")) == 1
