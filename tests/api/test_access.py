"""Who may do what: every endpoint of a whole appliance, asked by everybody."""

from __future__ import annotations

import base64
import grp
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.typing import EventDict

from appliance.api.credentials import MAX_FAILURES, Credentials
from appliance.api.exchange import Answer
from appliance.api.openapi import codes_of
from appliance.api.peers import Credentials as Process
from appliance.api.peers import Rights, credentials_of
from appliance.api.roles import Identity, Role
from appliance.api.table import Endpoint
from appliance.api.tokens import make_token, read_tokens
from appliance.app import Appliance
from appliance.config import Api, load
from appliance.errors import ConfigError
from appliance.parts import prepare
from tests.broker.conftest import make_certificates

TEXT = """
[appliance]
name = "node-1"
state_dir = "{0}"
[api]
listen = ["unix:{0}/api.sock", "127.0.0.1:0"]
token_file = "{0}/tokens"
group = "{1}"
operate_group = "{2}"
legacy_routes = true
[broker]
listen = ["127.0.0.1:0"]
tls = "off"
[[store]]
name = "s"
role = "master"
backend = "memory"
[[capture]]
name = "c"
conn_type = "udp"
address = ["127.0.0.1", 0]
[[capture.handler]]
name = "h"
"""
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/stores/{name}"): {"operation": "size"},
    ("POST", "/v1/hooks/retry"): {"ids": []},
    ("POST", "/v1/hooks/purge"): {"ids": []},
}
READERS, OPERATORS = "bin", "daemon"
CALLERS = ("no token", "wrong token", "read", "operate")


def path_of(endpoint: Endpoint) -> str:
    """With something in place of its names; the store is one that there is."""
    return endpoint.path.replace("{", "x").replace("}", "x").replace("xnamex", "s").replace(":path", "")


def body_of(endpoint: Endpoint) -> str | None:
    return json.dumps(BODIES.get((endpoint.method, endpoint.path), {})) if endpoint.body is not None else None


class Site:
    """An appliance with all that there is, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens: dict[str, str] = {"wrong token": "bro_wrong"}
        lines = ["# who may"]
        for role in ("read", "operate"):
            self.tokens[role], line = make_token(role, role)
            lines.append(line)
        (folder / "tokens").write_text("\n".join(lines))
        file = folder / "site.toml"
        file.write_text(TEXT.format(folder, READERS, OPERATORS))
        self._prepared, self._file = prepare(load(file, environ={})), file
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, ready), daemon=True)
        self._thread.start()
        assert ready.wait(20)
        self.unix, self.tcp = self.server.statistics().sockets
        self.endpoints: list[Endpoint] = [each for each in self.server.endpoints if not each.sign_in]

    async def _serve(self, ready: threading.Event) -> None:
        appliance = Appliance(self._prepared, self._file, {})
        self._token, self._stop = trio.lowlevel.current_trio_token(), appliance.stop
        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            assert appliance._assembly is not None
            self.server: Any = appliance._assembly.units["api"].service
            await self.server._is_loaded.wait()
            ready.set()

    def ask(self, endpoint: Endpoint, caller: str) -> tuple[int, dict[str, str]]:
        """Status and headers; a stream is left at its beginning."""
        host, _, port = self.tcp.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        token = self.tokens.get(caller)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request(endpoint.method, path_of(endpoint), body_of(endpoint), headers)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def stop(self) -> None:
        trio.from_thread.run_sync(self._stop, trio_token=self._token)
        self._thread.join(20)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for us alone
        folder = Path(name)
        folder.chmod(0o755)
        made = Site(folder)
        yield made
        made.stop()


@pytest.mark.parametrize("caller", CALLERS)
def test_every_endpoint_answers_everybody_as_it_says(site: Site, caller: str) -> None:
    """401 without a token, 403 with one that may too little, else what the endpoint's description has."""
    for endpoint in site.endpoints:
        site.server.credentials._failures.clear()
        status, headers = site.ask(endpoint, caller)
        where = (endpoint.method, endpoint.path, caller, status)
        role = {"read": Role.READ, "operate": Role.OPERATE}.get(caller, Role.OPEN)
        if caller == "wrong token" or (role < endpoint.role and caller == "no token"):
            assert status == 401, where
            assert headers["www-authenticate"].startswith("Bearer "), where
        elif role < endpoint.role:
            assert status == 403, where
        else:
            assert status not in (401, 403), where
            assert status in codes_of(endpoint), where
            assert status < 500 or status in endpoint.refusals, where
        if status >= 400:
            assert headers["content-type"] == "application/problem+json", where


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and complaint of the program."""
    program = [sys.executable, "-m", "appliance", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_the_command_line_is_let_in_by_its_token(site: Site) -> None:
    """From afar it may what the token may, and is told what is missing."""
    for role in ("read", "operate"):
        (site.folder / role).write_text(site.tokens[role])

    def run(*arguments: str, role: str = "") -> tuple[int, str]:
        token = ["--token-file", str(site.folder / role)] if role else []
        return command(*arguments, "--url", f"http://{site.tcp}", *token)

    assert run("capture", "list", role="read") == (0, "")
    assert run("reload", "--wait", role="operate") == (0, "")
    code, told = run("reload", role="read")
    assert (code, "the right to operate; token:read may read" in told) == (1, True)
    code, told = run("status")
    assert (code, "--token-file FILE" in told) == (1, True)


def test_what_there_is_not_is_not_told_to_strangers(site: Site) -> None:
    """Nobody finds out without a token which paths there are."""
    nothing = Endpoint(method="GET", path="/v1/nothing", role=Role.READ, summary="", handle=None)  # type: ignore[arg-type]
    other = Endpoint(method="DELETE", path="/v1/status", role=Role.READ, summary="", handle=None)  # type: ignore[arg-type]
    assert [site.ask(each, "no token")[0] for each in (nothing, other)] == [401, 401]
    assert [site.ask(each, "read")[0] for each in (nothing, other)] == [404, 405]


CLIENT = """
import http.client, json, os, socket, sys
path, uid, groups = sys.argv[1:]
os.setgroups([int(each) for each in groups.split(",") if each])
os.setgid(int(uid)); os.setuid(int(uid))
found = []
for method, target, body in json.load(sys.stdin):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    connection.sock.connect(path)
    connection.request(method, target, body)
    response = connection.getresponse()
    found.append((response.status, response.getheader("content-type")))
    connection.close()
json.dump(found, sys.stdout)
"""
SOMEBODY = 65534


def ask_all_as(site: Site, uid: int, *groups: str) -> list[tuple[int, str]]:
    """Status and kind for every endpoint, asked on the Unix socket by a process of that user in these groups."""
    numbers = ",".join(str(grp.getgrnam(name).gr_gid) for name in groups)
    asked = [(each.method, path_of(each), body_of(each)) for each in site.endpoints]
    client = [sys.executable, "-I", "-c", CLIENT, site.unix, str(uid), numbers]
    done = subprocess.run(client, input=json.dumps(asked), capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise PermissionError(done.stderr.splitlines()[-1])
    return [(status, kind) for status, kind in json.loads(done.stdout)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    ("uid", "groups", "role"),
    [
        (0, (), Role.OPERATE),
        (SOMEBODY, (READERS, OPERATORS), Role.OPERATE),
        (SOMEBODY, (READERS,), Role.READ),
        (SOMEBODY, (), Role.OPEN),
    ],
    ids=["owner", "operate-group", "socket-group", "other-uid"],
)
def test_on_the_socket_the_kernel_says_who_asks(site: Site, uid: int, groups: tuple[str, ...], role: Role) -> None:
    """Every endpoint: the owner and the group that may operate everything, the socket's group what reads, others 403,
    if they could connect at all.
    """
    if role is Role.OPEN:
        with pytest.raises(PermissionError):
            ask_all_as(site, uid, *groups)
        Path(site.unix).chmod(0o666)
    try:
        answers = ask_all_as(site, uid, *groups)
    finally:
        Path(site.unix).chmod(0o660)
    for endpoint, (status, kind) in zip(site.endpoints, answers, strict=True):
        where = (endpoint.method, endpoint.path, status)
        if role < endpoint.role:
            assert status == 403, where
        else:
            assert status not in (401, 403), where
            assert status in codes_of(endpoint), where
            assert status < 500 or status in endpoint.refusals, where
        if status >= 400:
            assert kind == "application/problem+json", where


@pytest.mark.parametrize(
    ("uid", "groups", "role"),
    [(0, (), Role.OPERATE), (7, (), Role.OPERATE), (8, (50,), Role.READ), (8, (60,), Role.OPERATE), (8, (), Role.OPEN)],
    ids=["root", "owner", "read-group", "operate-group", "stranger"],
)
def test_rights_come_from_owner_and_groups(uid: int, groups: tuple[int, ...], role: Role) -> None:
    """The socket's group reads, the configured one operates."""
    rights = Rights(owner=7, read_group=50, operate_group=60)
    who = rights.identify(Process(pid=4711, uid=uid, groups=frozenset({99, *groups})))
    assert (who.role, who.name, who.address) == (role, f"uid:{uid}", "pid 4711")


def test_the_kernel_knows_the_other_end() -> None:
    """Ourselves, here."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = credentials_of(ours)
    assert (found.pid, found.uid) == (os.getpid(), os.getuid())
    assert found.groups >= {os.getgid(), *os.getgroups()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a read", ":1: expected NAME"),
        ("\na write sha256:" + "0" * 64, ":2: expected NAME"),
        ("a read sha256:" + "0" * 63, ":1: expected NAME"),
        ("a read sha256:" + "0" * 64 + "\na operate sha256:" + "1" * 64, ":2: 'a' has a token already"),
    ],
    ids=["short", "role", "hash", "twice"],
)
def test_mistakes_in_the_file_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    """Before anything starts."""
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_tokens(str(file))


def test_a_file_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    """As is one that is not there."""
    file = tmp_path / "tokens"
    with pytest.raises(ConfigError, match="cannot read"):
        read_tokens(str(file))
    file.write_text("")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="everybody can write"):
        read_tokens(str(file))


async def test_too_many_wrong_tokens_are_told_to_wait(tmp_path: Path, told: list[EventDict]) -> None:
    """From one address; who has a token is let in all the same, and others are not concerned."""
    token, line = make_token("a", "read")
    (tmp_path / "tokens").write_text(line)
    now = 0.0
    credentials = Credentials(Api(token_file=str(tmp_path / "tokens")), clock=lambda: now)
    await credentials.read()

    def ask(text: str, host: str = "192.0.2.1") -> Any:
        peer = Identity(name="", address=f"{host}:5", challenge=True)
        return credentials.identify(peer, {"authorization": f"Bearer {text}"})

    assert [ask("x").status for _ in range(MAX_FAILURES + 1)] == [401] * MAX_FAILURES + [429]
    refused: Answer = ask("x")
    assert refused.headers["retry-after"] == "60"
    assert ask(token).name == "token:a"
    assert ask("x", "192.0.2.2").status == 401
    now = 60.0
    assert ask("x").status == 401
    assert {entry["event"] for entry in told} == {"a wrong token"}


@pytest.mark.parametrize(
    ("legacy", "given", "who"),
    [
        (True, "anybody:{}", "token:a"),
        (True, ":{}", "token:a"),
        (True, "{}:", None),
        (True, "anybody:{}x", None),
        (True, "{}", None),
        (False, "anybody:{}", None),
    ],
    ids=["password", "no-user", "as-user", "wrong", "no-colon", "not-asked-for"],
)
async def test_a_token_is_a_password_for_tools_of_ait(
    tmp_path: Path, told: list[EventDict], legacy: bool, given: str, who: str | None
) -> None:
    """With legacy_routes, whatever the user's name; RFC 7617."""
    token, line = make_token("a", "operate")
    (tmp_path / "tokens").write_text(line)
    credentials = Credentials(Api(token_file=str(tmp_path / "tokens"), legacy_routes=legacy))
    await credentials.read()
    peer = Identity(name="", address="192.0.2.1:5", challenge=True)
    text = base64.b64encode(given.format(token).encode()).decode()
    found: Any = credentials.identify(peer, {"authorization": f"Basic {text}"})
    assert (found.name if isinstance(found, Identity) else None) == who
    assert bool(told) == (who is None)
    for broken in ("Basic", "Basic ", "Basic \xff", "Basic =", "Basic /w=="):
        answer = credentials.identify(peer, {"authorization": broken})
        assert answer is peer or (isinstance(answer, Answer) and answer.status == 401)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('listen = ["127.0.0.1:0"]', "a TCP address needs token_file"),
        ('listen = ["0.0.0.0:8443"]\ntoken_file = "t"', "others can reach needs certificate and key"),
        ('listen = [":8443"]\ntoken_file = "t"', "others can reach needs certificate and key"),
        ('certificate = "c.pem"', "needs key, too"),
        ('listen = ["nowhere"]', 'expected "unix:/path" or "host:port"'),
        ('listen = ["[::1]:1"]\ntoken_file = "missing"', "cannot read"),
    ],
    ids=["tokens", "tls", "all-addresses", "key", "address", "file"],
)
def test_addresses_that_would_be_open_are_refused(tmp_path: Path, text: str, told: str) -> None:
    """With line and key."""
    file = tmp_path / "site.toml"
    file.write_text(f"[appliance]\nstate_dir = '{tmp_path}'\n[api]\n{text}\n")
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, check=lambda exc: told in str(exc) and exc.line > 2)):
        prepare(load(file, environ={}))


def test_a_new_certificate_and_new_tokens_come_with_a_reload(tmp_path: Path) -> None:
    """The listener stays open; connections from now on get the new one."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        make_certificates(tmp_path / name, san="IP:127.0.0.1")

    def install(name: str) -> None:
        for file_name in ("node.pem", "node.key"):
            (tmp_path / file_name).write_bytes((tmp_path / name / file_name).read_bytes())

    def certificate(address: str) -> bytes:
        host, _, port = address.rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port)), 20) as raw, context.wrap_socket(raw) as sock:
            sock.sendall(
                f"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            statuses.append(sock.recv(100).split()[1])
            return sock.getpeercert(binary_form=True) or b""

    install("first")
    token, line = make_token("a", "read")
    (tmp_path / "tokens").write_text("")
    (tmp_path / "a.token").write_text(f"{token}\n")
    statuses: list[bytes] = []
    file = tmp_path / "site.toml"
    file.write_text(
        f'[appliance]\nstate_dir = "{tmp_path}"\n[api]\nlisten = ["127.0.0.1:0"]\ntoken_file = "tokens"\n'
        'certificate = "node.pem"\nkey = "node.key"\n'
    )
    prepared = prepare(load(file, environ={}))

    async def main() -> None:
        appliance = Appliance(prepared, file, {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(appliance.run)
            await appliance.ready.wait()
            assert appliance._assembly is not None
            server: Any = appliance._assembly.units["api"].service
            (address,) = server.statistics().sockets
            before = await trio.to_thread.run_sync(certificate, address)
            install("second")
            (tmp_path / "tokens").write_text(line)
            appliance.reload()
            await appliance.wait_reloaded()
            assert appliance._assembly.units["api"].service is server
            after = await trio.to_thread.run_sync(certificate, address)
            assert before != after
            asked = ["status", "--url", f"https://{address}", "--token-file", str(tmp_path / "a.token"), "--ca"]
            for signer, code in (("second", 0), ("first", 1)):
                done = await trio.to_thread.run_sync(partial(command, *asked, str(tmp_path / signer / "ca.pem")))
                assert done[0] == code, done
            (tmp_path / "node.pem").write_text("no certificate")
            appliance.reload()
            assert not (await appliance.wait_reloaded()).ok
            assert await trio.to_thread.run_sync(certificate, address) == after
            appliance.stop()

    trio.run(main)
    assert statuses == [b"401", b"200", b"200"]
