"""What is typed: the search for packets, a new handler, the filter of the log, and signing in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .markup import Child, Html, join, tag

__all__ = ["CONN_TYPES", "PACKET_FIELDS", "make_log_form", "make_packet_form", "make_sign_in", "make_start_form"]

PACKET_FIELDS = (
    ("from", "From", "-10m, or 2026-11-21T09:55:31Z"),
    ("to", "To", "now"),
    ("host", "Host", "one or two addresses"),
    ("port", "Port", "one or two"),
    ("proto", "Protocol", "tcp"),
    ("conn", "Connection", "10.0.0.1:4711-192.0.2.7:80/tcp"),
    ("uid", "Zeek uid", "CHhAvVGS1DHFjwGM9"),
    ("community-id", "Community ID", "1:…"),
    ("bpf", "Expression", "udp port 53"),
    ("max-bytes", "At most, bytes", "100000000"),
)
"""Name, label and an example."""
CONN_TYPES = ("udp", "tcp", "ethernet")
ROTATE_UNITS = ("minutes", "hours", "days")


def field(label: str, name: str, **attributes: str | int | bool | None) -> Html:
    """A line to type in."""
    given: dict[str, str | int | bool | None] = {"type": "text", "autocomplete": "off", "spellcheck": "false"}
    return tag("label", tag("span", label), tag("input", name=name, **(given | attributes)))


def choice(label: str, name: str, options: Sequence[str], chosen: str = "", every: str = "") -> Html:
    """One of several; `every` stands for none in particular."""
    first = [tag("option", every, value="")] if every else []
    made = [tag("option", each, value=each, selected=each == chosen) for each in options]
    return tag("label", tag("span", label), tag("select", *first, *made, name=name))


def make_packet_form(recorders: Sequence[str], given: Mapping[str, str]) -> Child:
    """The search; None without a recorder."""
    if not recorders:
        return tag("p", "There is no recorder to search.", class_="empty")
    fields = [
        field(label, name, placeholder=example, value=given.get(name), maxlength=2000)
        for name, label, example in PACKET_FIELDS
    ]
    fields.append(choice("Recorder", "recorder", recorders, given.get("recorder", ""), every="all"))
    return tag("form", *fields, tag("button", "Download PCAP", class_="main"), action="extract", class_="fields")


def make_start_form(token: str) -> Html:
    """A new handler; it may be one more of a socket that there is."""
    return tag(
        "details",
        tag("summary", "Start a handler"),
        tag(
            "form",
            hidden(token),
            choice("Type", "conn_type", CONN_TYPES, "udp"),
            field("Address or interface", "host", placeholder="empty: every address", maxlength=300),
            field("Port or EtherType", "port", required=True, inputmode="numeric", pattern="[0-9]{1,5}", maxlength=5),
            field("Name", "name", required=True, maxlength=64),
            field("Folder", "log_dir", placeholder="captures, below the state's folder", maxlength=1000),
            field("New file every", "every", value="1", inputmode="numeric", pattern="[0-9]{1,6}"),
            choice("", "unit", ROTATE_UNITS, "days"),
            tag("button", "Start", class_="main"),
            action="start",
            method="post",
            class_="fields",
            data_change=True,
        ),
        id="start",
    )


def make_log_form(given: Mapping[str, str]) -> Html:
    """What of the log is wanted. Without the script it is a page of its own that goes on until it is left."""
    return tag(
        "form",
        field("Log", "path", value=given.get("path") or "*", placeholder="http, or *", maxlength=64, size=12),
        field("Contains", "contains", value=given.get("contains"), placeholder="an address, a uid, any text",
              maxlength=200, size=30),
        tag("button", "Show"),
        tag("button", "Pause", type="button", id="pause", aria_pressed="false", hidden=True),
        action="log",
        id="logform",
        class_="inline",
    )  # fmt: skip


def make_sign_in(told: str) -> Html:
    """For those who come over TCP."""
    return tag(
        "main",
        tag("h1", "broappliance"),
        tag("p", told, role="alert", class_="note bad") if told else None,
        tag(
            "form",
            field("Token", "token", type="password", required=True, autofocus=True, autocomplete="current-password",
                  maxlength=300),
            tag("button", "Sign in", class_="main"),
            method="post",
            action="login",
            class_="fields",
        ),
        tag("p", "An operator makes tokens; see ", tag("code", "[api] token_file"), ".", class_="empty"),
        class_="signin",
    )  # fmt: skip


def hidden(token: str) -> Html:
    """What shows that a form is of this page."""
    return join(tag("input", type="hidden", name="csrf", value=token))
