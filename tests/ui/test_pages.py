"""The page and its forms without a browser: who sees what, and what reaches the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.typing import EventDict

from appliance.api.credentials import MAX_FAILURES
from appliance.api.exchange import Answer
from appliance.api.roles import Identity, Role
from appliance.ui.page import SECTIONS

from .harness import EVIL, OPERATOR, READER, STRANGER, Desk, refusal
from .test_markup import Parsed

pytestmark = pytest.mark.usefixtures("told")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_names_from_outside_are_text(desk: Desk) -> None:
    """Wherever they are shown; the only script is the page's own."""
    page = Parsed((await desk.ask("GET", "/ui/")).text)
    scripts = [dict(attributes) for name, attributes in page.tags if name == "script"]
    assert scripts == [{"src": "page.js", "defer": None}]
    assert page.said.count(EVIL) > 10
    assert not [
        name for _, attributes in page.tags for name, _ in attributes if name.startswith("on") or name == "style"
    ]


async def test_everything_is_shown(desk: Desk) -> None:
    """A section for each part, with the figures of the API."""
    page = await desk.ask("GET", "/ui/")
    said = Parsed(page.text).said
    for name in SECTIONS:
        assert f'id="{name}"' in page.text
    for told in ("12,345", "unwanted 300", "5.0 GiB of 9.0 GiB", "kernel 4 · disk 1 · 2 gaps", "8 finished", "№ 17",
                 "worker-1", "logger-2", "192.0.2.8:9999", "2023-11-14 22:13:20", "2 restarts"):  # fmt: skip
        assert told in said, told
    for told in ("6 things to look at", "hook.h is backing-off", "the queue of hook.h is nearly full", "zmq.a lost 7",
                 "h: 9 dead letters", "broker does not reach 192.0.2.8:9999",
                 "the last reload was refused"):  # fmt: skip
        assert told in said, told


async def test_whoever_only_reads_sees_nothing_to_press(desk: Desk) -> None:
    """No button that changes anything, and no form for a new handler."""
    operator, reader = [(await desk.ask("GET", "/ui/", who=who)).text for who in (OPERATOR, READER)]
    assert operator.count('form="act"') == 5
    assert 'action="start"' in operator
    assert 'form="act"' not in reader
    assert 'action="start"' not in reader


async def test_every_answer_has_its_headers(desk: Desk) -> None:
    """Nothing from elsewhere, nothing in a frame, nothing kept."""
    for target in ("/ui/", "/ui", "/ui/login", "/ui/page.css", "/ui/page.js", "/ui/icon.svg"):
        answer = await desk.ask("GET", target)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; "), target
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("who", [STRANGER, READER, OPERATOR], ids=["stranger", "reader", "operator"])
async def test_who_may_open_which_page(desk: Desk, who: Identity) -> None:
    """A browser without a token is sent to sign in; forms that change are for those who operate."""
    streams = ("/ui/live", "/ui/log")
    for endpoint in desk.pages:
        if endpoint.path in streams and who is not STRANGER:
            continue
        form: dict[str, str] | None = {} if endpoint.method == "POST" else None
        answer = await desk.ask(endpoint.method, endpoint.path, form, who=who)
        where = (endpoint.method, endpoint.path, answer.status)
        if who is STRANGER and endpoint.role > Role.OPEN:
            expected = (303, 401) if endpoint.method == "GET" else (401, 401)
            assert answer.status in expected, where
            assert answer.headers.get("location", "/ui/login") == "/ui/login", where
        elif who is READER and endpoint.role is Role.OPERATE:
            assert answer.status == 403, where
        else:
            assert answer.status in ((200, 303) if endpoint.path != "/ui/login" else (200, 303, 401)), where
    assert not [request for request in desk.asked if request.method != "GET"]


@pytest.mark.parametrize(
    ("said", "path", "params", "body", "told"),
    [
        (
            "rotate:c/raw",
            "/v1/captures/{capture}/{handler}/rotate",
            {"capture": "c", "handler": "raw"},
            None,
            "/x/a.pcap",
        ),
        (
            "stop:c/raw",
            "/v1/captures/{capture}/{handler}",
            {"capture": "c", "handler": "raw"},
            None,
            "c/raw is stopped",
        ),
        ("retry:17", "/v1/hooks/retry", {}, {"ids": [17]}, "1 letter tried again"),
        ("retry-hook:h", "/v1/hooks/retry", {}, {"hook": "h"}, "1 letter tried again"),
        ("purge:17", "/v1/hooks/purge", {}, {"ids": [17]}, "2 letters deleted"),
    ],
    ids=["rotate", "stop", "retry", "retry-hook", "purge"],
)
async def test_a_button_does_what_the_api_does(
    desk: Desk, said: str, path: str, params: object, body: object, told: str
) -> None:
    """And the page tells what became of it, once."""
    answer, note = await desk.change("/ui/act", act=said)
    assert answer.status == 303
    assert desk.last() == (path, params, body)
    assert told in note
    where = answer.headers["location"].removeprefix("./").partition("#")[0]
    assert 'role="status"></div>' in (await desk.ask("GET", f"/ui/{where}")).text


async def test_a_new_handler_is_what_the_form_says(desk: Desk) -> None:
    """Empty fields are left to the defaults."""
    form = {"conn_type": "udp", "host": "", "port": "8500", "name": "b", "log_dir": "", "every": "2", "unit": "hours"}
    _, note = await desk.change("/ui/start", **form)
    path, _, body = desk.last()
    assert path == "/v1/captures"
    assert body == {
        "conn_type": "udp",
        "address": ["", 8500],
        "handler": [{"name": "b", "log_dir": None, "rotate_log_index": "hours", "rotate_log_delta": 2}],
    }
    assert "udp-1/b is started" in note


@pytest.mark.parametrize(
    ("target", "form", "told"),
    [
        ("/ui/act", {"act": "reboot:now"}, "there is no such button"),
        ("/ui/act", {"act": "retry:١"}, "is no letter"),
        ("/ui/act", {"act": f"purge:{'9' * 30}"}, "is no letter"),
        ("/ui/act", {}, "there is no such button"),
        ("/ui/start", {"port": "http"}, "the port is no number"),
        ("/ui/start", {"port": "1", "every": "-1"}, "how often a new file begins is no number"),
    ],
    ids=["button", "digits", "long", "none", "port", "every"],
)
async def test_nonsense_reaches_nobody(desk: Desk, target: str, form: dict[str, str], told: str) -> None:
    """It is told instead."""
    _, note = await desk.change(target, **form)
    assert told in note
    assert "bad" in note
    assert not [request for request in desk.asked if request.method != "GET"]


async def test_a_refusal_is_told_with_its_mistakes(desk: Desk) -> None:
    """In words, and as text."""
    desk.refusal = refusal()
    _, note = await desk.change("/ui/start", conn_type="udp", port="1", name="x")
    said = Parsed(note).said
    assert said == f"it cannot be done now: the {EVIL} is away: handler[0].name: is no name (use letters)"


async def test_a_form_of_somebody_else_does_nothing(desk: Desk) -> None:
    """Without the page's token, or with that of another person."""
    other = await desk.csrf(READER)
    for token in ("", "0" * 64, other):
        answer = await desk.ask("POST", "/ui/act", {"csrf": token, "act": "stop:c/raw"})
        assert answer.status == 303
    assert not [request for request in desk.asked if request.method != "GET"]


async def test_a_search_asks_for_what_was_filled_in(desk: Desk) -> None:
    """Two hosts in one line are two; a refusal leads back to the form as it was."""
    desk.refusal = refusal(400)
    answer = await desk.ask("GET", "/ui/extract?host=10.0.0.1,+10.0.0.2&port=&bpf=udp+port+53&recorder=&evil=1")
    assert desk.asked[-1].query == "host=10.0.0.1&host=10.0.0.2&bpf=udp+port+53"
    assert answer.status == 303
    where = answer.headers["location"].removeprefix("./").partition("#")[0]
    page = (await desk.ask("GET", f"/ui/{where}")).text
    assert 'value="10.0.0.1, 10.0.0.2"' in page
    assert "it cannot be done now" in page


async def test_what_is_found_is_a_file(desk: Desk) -> None:
    """With a name, and what the API says of it."""
    answer = await desk.ask("GET", "/ui/extract?proto=udp")
    assert (answer.status, answer.text) == (200, "pcap")
    assert answer.headers["content-disposition"] == 'attachment; filename="node-1-19700101-000000.pcap"'
    assert answer.headers["extract-report"] == "/x"


async def test_who_did_what_is_in_the_log(desk: Desk, told: list[EventDict]) -> None:
    """Besides the line of every request: a button has no path of its own."""
    await desk.change("/ui/act", act="stop:c/raw")
    (entry,) = told
    assert (entry["event"], entry["who"], entry["asked"]) == ("changed on the page", "uid:0", "stop:c/raw")
    assert (entry["ok"], entry["told"]) == (True, "c/raw is stopped")


async def test_a_note_is_for_whom_it_was_made(desk: Desk) -> None:
    """Nobody else can fetch it."""
    answer = await desk.ask("POST", "/ui/act", {"csrf": await desk.csrf(), "act": "retry:17"})
    where = answer.headers["location"].removeprefix("./").partition("#")[0]
    assert "tried again" not in (await desk.ask("GET", f"/ui/{where}", who=READER)).text


async def test_signing_in_with_a_token(desk: Desk, told: list[EventDict]) -> None:
    """A cookie for the page's paths alone, which stands for the token until one signs out."""
    await desk.credentials.read()
    wrong = await desk.ask("POST", "/ui/login", {"token": "bro_x"}, who=STRANGER)
    assert wrong.status == 401
    assert "nobody has this token" in wrong.text
    answer = await desk.ask("POST", "/ui/login", {"token": f" {desk.token} "}, who=STRANGER)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    assert set(attributes) == {"Path=/ui/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    who = desk.credentials.identify(STRANGER, {"cookie": f"other=1; {cookie}"})
    assert not isinstance(who, Answer)
    assert (who.name, who.role) == ("token:grafana", Role.READ)
    token = await desk.csrf(who, cookie)
    assert token != await desk.csrf(who)
    page = await desk.ask("GET", "/ui/", who=who, cookie=cookie)
    assert 'action="logout"' in page.text
    for given, ends in ((await desk.csrf(who), False), (token, True)):
        gone = await desk.ask("POST", "/ui/logout", {"csrf": given}, who=who, cookie=cookie)
        assert ("set-cookie" in gone.headers) is ends
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert desk.credentials.identify(STRANGER, {"cookie": cookie}) is STRANGER
    assert {entry["event"] for entry in told} == {"a wrong token", "signed in"}


async def test_a_session_ends_with_its_token(desk: Desk, tmp_path: Path) -> None:
    """Whoever takes it from the file need not look for sessions."""
    await desk.credentials.read()
    answer = await desk.ask("POST", "/ui/login", {"token": desk.token}, who=STRANGER)
    headers = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert desk.credentials.identify(STRANGER, headers) != STRANGER
    (tmp_path / "tokens").write_text("")
    await desk.credentials.read()
    assert desk.credentials.identify(STRANGER, headers) is STRANGER


async def test_guessing_is_slow(desk: Desk) -> None:
    """As it is over the API."""
    for _ in range(MAX_FAILURES):
        assert (await desk.ask("POST", "/ui/login", {"token": "x"}, who=STRANGER)).status == 401
    assert (await desk.ask("POST", "/ui/login", {"token": "x"}, who=STRANGER)).status == 429


async def test_whoever_is_known_need_not_sign_in(desk: Desk) -> None:
    """On a Unix socket there are no tokens."""
    assert (await desk.ask("GET", "/ui/login")).headers["location"] == "./"
    assert (await desk.ask("POST", "/ui/login", {"token": "x"})).headers["location"] == "./"
