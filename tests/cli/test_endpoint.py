"""Which appliance is asked, how we are let in, and what is said when nobody answers or lets us in."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import main
from appliance.cli.endpoint import DEFAULT_SOCKET, Endpoint, find_endpoint
from appliance.errors import ConfigError

from .answers import Answers
from .test_cli import STATUS

NOBODY, GROUP = 65534, 1


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BROAPPLIANCE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def remote() -> Iterator[Answers]:
    with Answers() as made:
        made.answers["GET /v1/status"] = [(200, STATUS)]
        yield made


def find(environ: dict[str, str] | None = None, **arguments: Any) -> Endpoint:
    return find_endpoint(argparse.Namespace(**arguments), environ or {})


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error of a command that fails while running."""
    assert main(list(arguments)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


# ── which one ──


def test_the_arguments_come_before_the_environment_and_that_before_the_default(tmp_path: Path) -> None:
    """A file stands for its own [api] listen."""
    file = tmp_path / "site.toml"
    file.write_text('[api]\nlisten = ["unix:/x/file.sock"]\n')
    environ = {"BROAPPLIANCE_SOCKET": "/x/env.sock", "BROAPPLIANCE_URL": "https://h:1"}
    assert str(find()) == str(DEFAULT_SOCKET)
    assert str(find({"BROAPPLIANCE_SOCKET": "/x/env.sock"})) == "/x/env.sock"
    assert str(find(environ)) == "https://h:1"
    assert str(find(environ, config=file)) == "/x/file.sock"
    assert str(find(environ, url="https://other:2/")) == "https://other:2"
    assert str(find(environ, socket=Path("/x/arg.sock"))) == "/x/arg.sock"


@pytest.mark.parametrize(
    ("listen", "served", "found"),
    [
        ('"unix:new.sock"', "/x/old.sock\n", "/x/old.sock"),
        ('"unix:/x/b.sock"', "/x/a.sock\n/x/b.sock\n", "/x/b.sock"),
        ('"127.0.0.1:8081"', "/x/old.sock\n", "/x/old.sock"),
        ("", "/x/old.sock\n", "/x/old.sock"),
        ('"unix:/x/new.sock"', "", "/x/new.sock"),
        ('"unix:/x/new.sock"', None, "/x/new.sock"),
        ('"127.0.0.1:8081"', None, "http://127.0.0.1:8081"),
    ],
    ids=["moved", "one-of-two", "to-tcp", "off", "nothing-told", "nobody-told", "tcp"],
)
def test_a_running_appliance_is_asked_where_it_is(tmp_path: Path, listen: str, served: str | None, found: str) -> None:
    """Also if the file, which it has not read again, says something else; its state directory knows."""
    file = tmp_path / "site.toml"
    (tmp_path / "s").mkdir()
    if served is not None:
        (tmp_path / "s" / "api.sockets").write_text(served)
    file.write_text(f'[appliance]\nstate_dir = "s"\n[api]\nlisten = [{listen}]\ntoken_file = "tokens"\n')
    assert str(find(config=file)) == found
    if "unix:/x/b.sock" in listen or "new" in listen:  # with mistakes as well
        file.write_text(f"{file.read_text()}[[zmq]]\nbnid = 1\n")
        assert str(find(config=file)) == found


def test_a_file_with_mistakes_still_says_where_its_appliance_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs with what the file was before; that the file is wrong is told, too."""
    file = tmp_path / "site.toml"
    file.write_text('[appliance]\nstate_dir = "s"\n[api]\nlisten = ["unix:api.sock"]\n[[zmq]]\nbnid = 1\n')
    assert str(find(config=file)) == str(tmp_path / "s" / "api.sock")
    assert "has mistakes, see broappliance --config" in capsys.readouterr().err
    file.write_text("[[zmq]]\nbnid = 1\n")
    assert str(find(config=file)) == str(DEFAULT_SOCKET)


@pytest.mark.parametrize(
    "text", ["oops", 'include = ["x.toml"]\n', '[api]\nlisten = ["unix:${NOWHERE}"]\n', "[api]\nlisten = 5\n"]
)
def test_a_file_that_does_not_even_say_that_is_refused(tmp_path: Path, text: str) -> None:
    """With its mistakes."""
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(ExceptionGroup):
        find(config=file)


@pytest.mark.parametrize(
    "url",
    ["host:1", "ftp://h", "https://", "https://h/path", "https://h?x", "https://u@h", "http://h:x", "http://h:99999"],
)
def test_what_is_no_url_is_a_mistake_of_usage(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    assert main(["status", "--url", url]) == 2
    assert f"--url: {url!r} is not of the form https://HOST:PORT" in capsys.readouterr().err


# ── being let in ──


def test_a_token_goes_with_every_request(remote: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file that is named, else from the one in the environment, else from the environment itself."""
    url = f"http://127.0.0.1:{remote.port}"
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}-token\n")
    assert main(["status", "--json", "--url", url]) == 0
    monkeypatch.setenv("BROAPPLIANCE_TOKEN", "three-token")
    assert main(["status", "--json", "--url", url]) == 0
    monkeypatch.setenv("BROAPPLIANCE_TOKEN_FILE", str(tmp_path / "two"))
    assert main(["status", "--json", "--url", url]) == 0
    assert main(["status", "--json", "--url", url, "--token-file", str(tmp_path / "one")]) == 0
    monkeypatch.setenv("BROAPPLIANCE_URL", url)
    assert main(["status", "--json"]) == 0
    sent = [headers.get("authorization") for headers in remote.headers]
    assert sent == [None, "Bearer three-token", "Bearer two-token", "Bearer one-token", "Bearer two-token"]


@pytest.mark.parametrize(
    "content", [None, b"two tokens", b"t\xc3\xb6ken", b"\xff"], ids=["none", "two", "umlaut", "binary"]
)
def test_a_token_that_is_none_is_a_mistake_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    """And it is not printed."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    assert main(["status", "--url", "https://h", "--token-file", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("broappliance: --token-file")
    assert "ken" not in error.replace("--token-file", "").replace("one token", "").replace(str(file), "")


def test_a_token_is_not_sent_where_everybody_can_read_it() -> None:
    """Without TLS only to this machine."""
    environ = {"BROAPPLIANCE_TOKEN": "t"}
    for url in ("http://192.0.2.1:80", "http://example.org"):
        with pytest.raises(ConfigError, match="use https"):
            find(environ, url=url)
        assert find(url=url).token == ""
    for url in ("http://127.0.0.1:80", "http://[::1]:80", "http://localhost", "https://example.org"):
        assert find(environ, url=url).token == "t"


def test_certificates_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that nobody we trust has signed is refused, with what to do; one whose signer is named is not."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Answers(tls=context) as served:
        served.answers["GET /v1/status"] = [(200, STATUS)]
        url = f"https://127.0.0.1:{served.port}"
        assert "is not trusted" in (line := told(capsys, "status", "--url", url))
        assert "--ca FILE" in line
        assert main(["status", "--url", url, "--ca", str(certificate)]) == 0
        capsys.readouterr()
        assert main(["status", "--url", url, "--ca", str(tmp_path / "none")]) == 2
        assert "--ca" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "token", "wanted"),
    [
        (401, "", "wants a token: a token is needed (give one with --token-file FILE"),
        (401, "x", "does not know the token: a token is needed"),
        (403, "x", "broappliance: a token is needed: of role operate"),
    ],
)
def test_who_is_not_let_in_is_told_what_is_missing(
    remote: Answers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    status: int, token: str, wanted: str,
) -> None:  # fmt: skip
    """For every command alike."""
    detail = {"detail": "of role operate"} if status == 403 else {}
    problem = {"title": "a token is needed", "status": status, **detail}
    remote.answers = {
        "GET /v1/status": [(status, problem)],
        "POST /v1/reload": [(status, problem)],
        "GET /v1/hooks": [(status, b"<")],
    }
    monkeypatch.setenv("BROAPPLIANCE_URL", f"http://127.0.0.1:{remote.port}")
    monkeypatch.setenv("BROAPPLIANCE_TOKEN", token)
    for command in ("status", "reload"):
        assert wanted in told(capsys, command)
    assert f"HTTP {status}" in told(capsys, "hooks", "list")


# ── nobody there ──


def test_an_appliance_that_does_not_run_is_told_with_how_to_start_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket that was tried stands in the message."""
    line = told(capsys, "status", "--socket", str(tmp_path / "none"))
    assert f"no appliance answers at {tmp_path / 'none'}: No such file" in line
    assert "start one with 'broappliance --config FILE' or 'systemctl start broappliance'" in line


def test_a_socket_that_was_left_behind_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens to it any more."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    line = told(capsys, "hooks", "list", "--socket", str(tmp_path / "left"))
    assert "Connection refused" in line
    assert "ended without removing it" in line


def test_somebody_else_who_listens_is_told(remote: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    """He speaks HTTP and has no documents."""
    remote.answers["GET /v1/config"] = [(200, b"<html>")]
    line = told(capsys, "config", "--url", f"http://127.0.0.1:{remote.port}")
    assert "answered with something that is no document" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="root can become somebody else, and only root can give files away")
@pytest.mark.parametrize(
    ("folder_mode", "socket_mode", "hint"),
    [
        (0o755, 0o660, "usermod -aG {group} {me}"),
        (0o750, 0o660, "usermod -aG {group} {me}"),
        (0o755, 0o600, "use sudo"),
    ],
)
def test_who_may_not_connect_is_told_whose_it_is_and_which_group_may(
    capsys: pytest.CaptureFixture[str], folder_mode: int, socket_mode: int, hint: str
) -> None:
    """The folder, if that is what keeps him out, else the socket."""
    folder = Path(f"/tmp/broappliance-{os.getpid()}-{folder_mode}-{socket_mode}")
    folder.mkdir()
    path = folder / "api.sock"
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            for each, mode in ((folder, folder_mode), (path, socket_mode)):
                os.chown(each, 0, GROUP)
                each.chmod(mode)
            os.seteuid(NOBODY)
            try:
                line = told(capsys, "status", "--socket", str(path))
            finally:
                os.seteuid(0)
    finally:
        path.unlink()
        folder.rmdir()
    closed = path if folder_mode == 0o755 else folder
    me, group = pwd.getpwuid(NOBODY).pw_name, grp.getgrgid(GROUP).gr_name
    assert f"access to {path} is denied to {me}: {closed} belongs to root, group {group}" in line
    assert hint.format(group=group, me=me) in line
