"""The file that says which sockets are served."""

from __future__ import annotations

from pathlib import Path

from structlog.typing import EventDict

from appliance.api.whereabouts import Whereabouts


def test_paths_are_told_until_the_end(tmp_path: Path) -> None:
    """Addresses of TCP are not; nothing is left, and nothing was half written."""
    file = tmp_path / "new" / "api.sockets"
    whereabouts = Whereabouts(file)
    whereabouts.tell(["/run/a.sock", "127.0.0.1:8080", "/run/b.sock"])
    assert file.read_text() == "/run/a.sock\n/run/b.sock\n"
    whereabouts.forget()
    whereabouts.forget()
    assert list(file.parent.iterdir()) == []


def test_what_somebody_else_has_told_stays(tmp_path: Path) -> None:
    """Whoever serves no socket, or could not begin to, says nothing and takes nothing back."""
    file = tmp_path / "api.sockets"
    file.write_text("/run/other.sock\n")
    whereabouts = Whereabouts(file)
    whereabouts.tell(["127.0.0.1:8080"])
    whereabouts.forget()
    assert file.read_text() == "/run/other.sock\n"
    nobody = Whereabouts(None)
    nobody.tell(["/run/a.sock"])
    nobody.forget()


def test_a_folder_that_takes_nothing(tmp_path: Path, told: list[EventDict]) -> None:
    """Is a warning: the endpoint works without."""
    (tmp_path / "file").write_text("")
    Whereabouts(tmp_path / "file" / "api.sockets").tell(["/run/a.sock"])
    assert [entry["event"] for entry in told] == ["cannot write which sockets are served"]
