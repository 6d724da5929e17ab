"""The description of the endpoint, and what happens to whoever does not keep to it."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.api.openapi import codes_of
from appliance.api.table import Endpoint

from .test_access import Site, site

__all__ = ["site"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def ask(site: Site, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Status, kind and the first bytes of an answer to the operator."""
    host, _, port = site.tcp.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        sent = {"Authorization": f"Bearer {site.tokens['operate']}", "Connection": "close", **headers}
        connection.request(method, target, body, sent)
        response = connection.getresponse()
        kind = response.getheader("content-type", "")
        return response.status, kind, b"" if kind == "text/event-stream" else response.read(1 << 20)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def description(site: Site) -> Any:
    return json.loads(ask(site, "GET", "/v1/openapi.json", None, {})[2])


def test_every_endpoint_is_described(site: Site, description: Any) -> None:
    """With its role, its codes, and schemas that there are."""
    described = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    assert described >= {(each.method, each.path.replace(":path", "")) for each in site.endpoints}
    ids = [each["operationId"] for methods in description["paths"].values() for each in methods.values()]
    assert len(ids) == len(set(ids))
    text = json.dumps(description)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in description["components"]["schemas"]
    for methods in description["paths"].values():
        for operation in methods.values():
            assert operation["x-role"] in ("open", "read", "operate")


def test_answers_are_of_the_described_types(site: Site) -> None:
    """Each document that can be read without a parameter."""
    checked = 0
    for each in site.endpoints:
        if each.method == "GET" and each.reply is not None and "{" not in each.path and each.query is None:
            status, _, body = ask(site, "GET", each.path, None, {})
            if status == 200:
                msgspec.json.decode(body, type=each.reply)
                checked += 1
    assert checked > 6


words = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["operation", "key", "value", "ids", "hook", "all", "topic", "event", "args", "handler", "conn",
                         "conn_type", "address", "name", "print", "limit", "ttl"])  # fmt: skip


@given(
    index=st.integers(0, 200),
    method=st.none() | st.sampled_from(METHODS),
    part=words,
    query=st.dictionaries(st.sampled_from(["limit", "cursor", "after", "wait", "topic", "host", "bpf", "x"]), words),
    body=st.none()
    | st.binary(max_size=40)
    | st.dictionaries(names, values, max_size=4).map(json.dumps).map(str.encode),
    accept=st.sampled_from(["*/*", "text/html", "application/json;q=0.5, text/*", ",;,", "application/*"]),
    kind=st.sampled_from(["application/json", "application/json; charset=x", "text/plain", "x", ""]),
)
@QUICK
def test_nothing_that_is_sent_is_a_failure_of_ours(
    site: Site, index: int, method: str | None, part: str, query: dict[str, str], body: bytes | None, accept: str,
    kind: str,
) -> None:  # fmt: skip
    """Whatever method, path, query, body and headers: an answer that is described, and never 500."""
    endpoint: Endpoint = site.endpoints[index % len(site.endpoints)]
    if endpoint.path == "/v1/reload":
        endpoint = site.endpoints[0]
    path = "/".join(quote(part, safe="") or "x" if "{" in each else each for each in endpoint.path.split("/"))
    if path == "/v1/events":
        query.pop("topic", None)
    target = path + ("?" + "&".join(f"{quote(k)}={quote(v)}" for k, v in query.items()) if query else "")
    used = method or endpoint.method
    status, found, answer = ask(site, used, target, body, {"Accept": accept, "Content-Type": kind})
    if method is None:
        assert status in {*codes_of(endpoint), 401, 404, 405}, (used, target, body, status, answer)
    assert status not in (500, 501)
    if status >= 400 and used != "HEAD":
        assert found == "application/problem+json"
        assert msgspec.json.decode(answer)["status"] == status


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["Host", "Origin", "Authorization", "Range", "Accept", "Expect", "Content-Length",
                             "Upgrade", "Transfer-Encoding", "Connection", "Sec-Fetch-Site", "Content-Type"]),
            st.binary(max_size=30) | st.sampled_from([b"localhost", b"100-continue", b"websocket", b"chunked", b"-1",
                                                      b"h2c", b"Bearer x", b"bytes=0-"]),
        ),
        max_size=5,
    ),
    line=st.sampled_from([b"GET /v1/status HTTP/1.1", b"POST /v1/events HTTP/1.1", b"GET * HTTP/1.1", b"PRI * HTTP/2.0",
                          b"GET http://localhost/healthz HTTP/1.1", b"CONNECT x:1 HTTP/1.1", b"GET /%ff HTTP/1.0"]),
)  # fmt: skip
@QUICK
def test_heads_of_any_kind_get_an_answer_or_an_end(site: Site, headers: list[tuple[str, bytes]], line: bytes) -> None:
    """Never 500, and never silence; the next one is served."""
    host, _, port = site.tcp.rpartition(":")
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
    with socket.create_connection((host, int(port)), 20) as sock:
        sock.sendall(line + b"\r\n" + lines + b"\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := sock.recv(65536):
                answer += data
        except ConnectionResetError:
            pass
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer
    assert not answer.startswith(b"HTTP/1.1 500"), answer
