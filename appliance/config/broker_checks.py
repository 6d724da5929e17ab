"""What types cannot tell about [broker]: addresses, certificates, topics, and which keys contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.config import addresses
from appliance.config.lines import Key
from appliance.config.report import Report, quote, show_key
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Broker, Config
from appliance.units import Size

__all__ = ["check_broker"]

_CREDENTIALS = ("certificate", "key", "ca")
_TOPICS = ("subscribe", "publish", "advertise")
_LONGEST_TOPIC = (1 << 16) - 1  # Broker counts its bytes in 16 bits
_LARGEST_MESSAGE = Size((1 << 31) - 6)  # Broker itself sends nothing longer
_SMALLEST_MESSAGE = Size(64 << 10)  # Zeek sends log writes in batches of hundreds
_LOCAL = "<$>"  # where Broker's endpoints talk to themselves and about their peerings
_POSITIVE = ("retry_interval", "handshake_timeout", "queue_bytes", "max_wait")


def check_broker(config: Config, report: Report) -> None:
    """Report everything that is wrong in [broker], apart from addresses that others occupy."""
    for _, broker in select(config, "broker"):
        _check_values(broker, report)
        _check_tls(broker, report)
        _check_connect(broker, report)
        _check_topics(broker, report)
        _check_advertise(broker, report)


def _check_values(broker: Broker, report: Report) -> None:
    for name in _POSITIVE:
        if getattr(broker, name) == 0:
            report.add(("broker", name), "must be more than 0")
    size = broker.max_message
    if size is not HOLE and not _SMALLEST_MESSAGE <= size <= _LARGEST_MESSAGE:
        report.add(("broker", "max_message"), f"expected {_SMALLEST_MESSAGE} to {int(_LARGEST_MESSAGE)}, got {size}")


def _check_tls(broker: Broker, report: Report) -> None:
    if broker.tls is HOLE:
        return
    if broker.tls == "mutual":
        for name in _CREDENTIALS:
            if getattr(broker, name) == "":
                report.add(("broker", name), 'missing, tls = "mutual" needs it')
        return
    for name in (*_CREDENTIALS, "passphrase_file"):
        if getattr(broker, name) not in ("", HOLE):
            report.add(("broker", name), f"has no effect with tls = {quote(broker.tls)}", 'write tls = "mutual"')


def _check_connect(broker: Broker, report: Report) -> None:
    ours = set()
    for _, text in select(broker, "listen", EACH):
        try:
            ours.add(addresses.parse_peer(text))
        except ValueError:
            continue  # reported with all addresses that are bound
    first: dict[tuple[str, int], Key] = {}
    for place, text in select(broker, "connect", EACH):
        key = ("broker", *place)
        try:
            host, port = addresses.parse_peer(text)
        except ValueError as exc:
            report.add(key, str(exc))
            continue
        if not host or not port:
            report.add(key, f'expected "host:port" of a peer, got {quote(text)}')
        elif (host, port) in ours:
            report.add(key, f"{quote(text)} is our own address")
        elif (other := first.setdefault((host, port), key)) is not key:
            file, line = report.place(other)
            report.add(key, f"is dialled already by {show_key(other)} at {file}:{line}")


def _entries(broker: Broker, name: str) -> Iterator[tuple[Key, str]]:
    written = getattr(broker, name)
    if written is not HOLE and written is not None:
        yield from ((("broker", name, i), entry) for i, entry in enumerate(written) if entry is not HOLE)


def _check_topics(broker: Broker, report: Report) -> None:
    for name in _TOPICS:
        seen: dict[str, Key] = {}
        for key, topic in _entries(broker, name):
            if topic.startswith(_LOCAL):
                report.add(key, f"{quote(topic)} is one of Broker's own")
            elif len(topic.encode(errors="surrogateescape")) > _LONGEST_TOPIC:
                report.add(key, f"is longer than {_LONGEST_TOPIC} bytes")
            elif not topic and name == "publish":
                report.add(key, "a topic must not be empty", "leave publish out to allow everything")
            elif seen.setdefault(topic, key) is not key:
                report.add(key, f"{quote(topic)} is there twice")


def _check_advertise(broker: Broker, report: Report) -> None:
    if broker.subscribe is HOLE or HOLE in broker.subscribe:
        return
    for key, topic in _entries(broker, "advertise"):
        if not any(topic.startswith(prefix) or prefix.startswith(topic) for prefix in broker.subscribe):
            report.add(key, f"{quote(topic)} has no effect: nothing of it is subscribed to", "add it to subscribe")
