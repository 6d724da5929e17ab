"""``broappliance layout`` as a program."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from appliance.cli import main

GOLDEN = Path(__file__).parents[1] / "golden" / "layouts"


def run(*arguments: str | Path) -> int:
    return main(["layout", *map(str, arguments)])


def test_import_prints_tables_and_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    """Nodes on standard output, what could not be taken over on standard error."""
    assert run("import", GOLDEN / "zeekctl-2.6.zeek", "--zeek-version", "8.1") == 0
    shown = capsys.readouterr()
    cluster = tomllib.loads(shown.out)["cluster"]
    assert (cluster["zeek_version"], cluster["manager_is_logger"], len(cluster["nodes"])) == ("8.1", False, 6)
    assert cluster["nodes"]["logger-1"] == {
        "type": "logger",
        "ip": "192.0.2.1",
        "port": 27764,
        "metrics_port": 9992,
    }
    assert shown.err.endswith("zeekctl-2.6.zeek:12:1: event zeek_init was not read\n")


@pytest.mark.parametrize("name", ["node.cfg", "zeek.conf", "cluster", "brocontrol-1.9.bro"])
def test_import_knows_files_by_their_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of file is read, and a folder of several hosts."""
    assert run("import", GOLDEN / name) == 0
    assert "manager" in tomllib.loads(capsys.readouterr().out)["cluster"]["nodes"]


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A layout through our configuration is the same layout."""
    table, script = tmp_path / "site.toml", tmp_path / "cluster-layout.zeek"
    assert run("import", GOLDEN / "zeek-8.0.expected.zeek", "-o", table) == 0
    assert run("export", table, "-o", script) == 0
    assert script.read_text().splitlines()[1:] == (GOLDEN / "zeek-8.0.expected.zeek").read_text().splitlines()[1:]
    assert "lb_filter" in capsys.readouterr().err


def test_export_takes_the_place_of_a_file(tmp_path: Path) -> None:
    """By rename, with the mode that it had, and without leaving anything else."""
    script = tmp_path / "cluster-layout.zeek"
    script.write_text("old")
    script.chmod(0o640)
    before = script.stat().st_ino
    assert run("export", GOLDEN / "zeek.conf", "-o", script) == 0
    assert stat.S_IMODE(script.stat().st_mode) == 0o640
    assert script.stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir()] == [script.name]


def test_export_of_an_addition(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the nodes that are named."""
    assert run("export", GOLDEN / "zeek.conf", "--add", "logger-1") == 0
    shown = capsys.readouterr().out
    assert "+= {" in shown
    assert shown.count("$node_type") == 1
    assert run("export", GOLDEN / "zeek.conf", "--add", "logger-9") == 2
    assert "there is no node 'logger-9'" in capsys.readouterr().err


def test_export_looks_hosts_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """IPv4 comes first; a host that nobody knows is told of, and nothing is written."""
    table = tmp_path / "site.toml"
    table.write_text('[cluster.nodes.a]\ntype = "worker"\nip = "localhost"\n')
    assert run("export", table) == 0
    assert "$ip=127.0.0.1" in capsys.readouterr().out
    table.write_text('[cluster.nodes.a]\ntype = "worker"\nip = "no-such-host.invalid"\n')
    assert run("export", table, "-o", tmp_path / "x.zeek") == 1
    assert "cannot look up 'no-such-host.invalid'" in capsys.readouterr().err
    assert not (tmp_path / "x.zeek").exists()


def test_huge_file_is_refused_without_reading_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """100 MB of nothing: one line, with the place at which it became too much."""
    huge = tmp_path / "cluster-layout.zeek"
    with huge.open("wb") as stream:
        stream.truncate(100 << 20)
    assert run("import", huge) == 2
    assert capsys.readouterr().err == f"{huge}:1:2097153: larger than 2 MiB, which describes no cluster\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", "", "not a name that says what it is"),
        ("a.toml", "x", "not TOML"),
        ("a.toml", "[broker]\n", "there is no table [cluster]"),
        ("a.toml", "[cluster]\nzeek_version = 8\n", "expected string"),
        ("a.toml", '[cluster]\nzeek_version = "eight"\n', "'eight' is not a version"),
        ("a.toml", '[cluster.nodes.x]\ntype = "y"\n', "cluster.nodes.x.type: not one of"),
    ],
)
def test_mistakes_name_the_file(
    name: str, text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and what is wrong."""
    path = tmp_path / name
    path.write_text(text)
    assert run("export", path) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(str(path))
    assert told in shown


def test_missing_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told like any other mistake; a folder that cannot be written to is a failure."""
    assert run("import", tmp_path / "none.zeek") == 2
    assert run("import", tmp_path) == 2
    assert run("export", GOLDEN / "zeek.conf", "-o", tmp_path / "no" / "x.zeek") == 1
    shown = capsys.readouterr().err
    assert "cannot be read" in shown
    assert "no HOST.zeek.conf" in shown
    assert "cannot write" in shown
