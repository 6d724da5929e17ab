"""From the status to the page."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from appliance.metrics.exposition import OPENMETRICS, TEXT, Page
from appliance.metrics.names import TABLES, all_metrics, labels_of
from appliance.metrics.source import Source
from appliance.metrics.spec import Left, Text, Value, struct_name
from appliance.metrics.walk import Walker
from appliance.status import Status

from .figures import KINDS, fill_status, make_status
from .readers import read_open, read_text


def numbers_in(value: Any) -> Iterator[float]:
    """Every number that a status tells, in base units, but what its table leaves out."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, msgspec.Struct):
        table = TABLES.get(struct_name(type(value)))
        for name in value.__struct_fields__:
            field = table.fields.get(name) if table else None
            if isinstance(field, Left) and not field.why.startswith("it is added part by part"):
                continue
            scale = field.scale if isinstance(field, Value) else 1
            if isinstance(field, Text) or name == "rates" or struct_name(type(value)) == "runtime.HistogramFigures":
                continue
            yield from (number / scale for number in numbers_in(getattr(value, name)))
    elif isinstance(value, dict):
        for each in value.values():
            yield from numbers_in(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from numbers_in(each)


def samples_of(page: Page) -> list[Any]:
    return [sample for family in read_open(page.render(OPENMETRICS).decode()) for sample in family.samples]


def test_every_number_of_the_status_is_exported() -> None:
    """Of every kind of service, its queue and its account; each number is one of its own."""
    status = make_status()
    exported = {sample.value for sample in samples_of(Source(lambda: status).page(status))}
    told = list(numbers_in(status))
    assert len(told) > 300
    assert [number for number in told if number not in exported] == []


def test_histograms_are_exported_whole() -> None:
    """Buckets that add up, the sum, and the count."""
    status = make_status()
    (durations,) = [line.figures.durations for line in status.services if line.service.name == "hook.x"]
    samples = [each for each in samples_of(Source(lambda: status).page(status)) if "call_duration" in each.name]
    buckets = [each.value for each in samples if each.name.endswith("_bucket")]
    assert buckets == list(itertools.accumulate(durations.counts))
    assert [each.value for each in samples if each.name.endswith("_count")] == [durations.count]
    assert [each.value for each in samples if each.name.endswith("_sum")] == [durations.sum_s]


def test_every_sample_says_which_node_it_is_of() -> None:
    """And those of services, which service."""
    status = make_status()
    samples = samples_of(Source(lambda: status).page(status))
    assert {each.labels["node"] for each in samples} == {status.node}
    services = {each.labels["service"] for each in samples if "service" in each.labels}
    assert services == {f"{kind}.x" for kind in KINDS}


def test_the_page_has_the_metrics_that_are_documented_and_no_others() -> None:
    """With everything running and a reload made."""
    status = make_status()
    page = Source(lambda: status).page(status)
    known = {metric.name for metric in all_metrics() if "filesystem" not in metric.name}
    assert {metric.name for metric in page.metrics} == known


def test_samples_have_the_labels_that_are_documented() -> None:
    """All of them, and no other ones."""
    status = make_status()
    for family in read_open(Source(lambda: status).page(status).render(OPENMETRICS).decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {"node", *labels_of()[name]}, name


def test_no_series_is_there_twice() -> None:
    """Labels tell all samples of a family apart."""
    status = make_status()
    samples = samples_of(Source(lambda: status).page(status))
    names = [(each.name, *sorted(each.labels.items())) for each in samples]
    assert len(names) == len(set(names))


def test_what_there_is_not_is_no_sample() -> None:
    """No packet has no time; before the first reload there is nothing to be told but that nothing failed."""
    status = make_status()
    line = next(each for each in status.services if each.service.name == "recorder.x")
    assert line.queue is not None
    quiet = msgspec.structs.replace(
        line,
        figures=msgspec.structs.replace(line.figures, oldest_ns=0, newest_ns=0, disk_limit=0),
        queue=msgspec.structs.replace(line.queue, oldest_s=None),
    )
    status = msgspec.structs.replace(status, services=(quiet,), last_reload=None, journal=None)
    names = {metric.name for metric in Source(lambda: status).page(status).metrics}
    assert not {name for name in names if name.endswith("packet_timestamp_seconds") or "journal" in name}
    assert not names & {"broappliance_recorder_disk_limit_bytes", "broappliance_queue_oldest_record_age_seconds"}
    assert "broappliance_config_last_reload_successful" in names
    assert "broappliance_config_last_reload_timestamp_seconds" not in names


class Inner(msgspec.Struct, frozen=True):
    depth: int
    word: str = "w"


class Novel(msgspec.Struct, frozen=True):
    height: float
    inner: Inner
    by_name: dict[str, int]
    parts: tuple[Inner, ...]
    is_new: bool = True
    name: str = "n"


def test_what_no_table_knows_is_exported_without_a_type() -> None:
    """A service that is newer than the tables can be seen all the same."""
    page = Page({"node": "n"})
    Novel.__module__ = Inner.__module__ = "appliance.novel.figures"
    novel = Novel(1.5, Inner(2), {"a": 3}, (Inner(4), Inner(5)))
    Walker(TABLES).add(page, novel, page.labels)
    (family, *_) = families = list(read_text(page.render().decode()))
    assert family.type == "unknown"
    assert {(each.name, *each.labels.values(), each.value) for every in families for each in every.samples} == {
        ("broappliance_novel_height", "n", 1.5),
        ("broappliance_novel_inner_depth", "n", 2),
        ("broappliance_novel_by_name", "n", "a", 3),
        ("broappliance_novel_parts_depth", "n", "0", 4),
        ("broappliance_novel_parts_depth", "n", "1", 5),
        ("broappliance_novel_is_new", "n", 1),
    }


def test_a_state_that_no_table_knows_is_shown() -> None:
    """Beside the others, which are 0."""
    status = msgspec.structs.replace(make_status(), state="dreaming")
    samples = samples_of(Source(lambda: status).page(status))
    states = {each.labels["state"]: each.value for each in samples if each.name == "broappliance_state"}
    assert states == {"starting": 0, "running": 0, "reloading": 0, "draining": 0, "dreaming": 1}


async def test_a_scrape_is_answered_in_the_format_that_it_asks_for(tmp_path: Any) -> None:
    """With the file systems that are written to, where they can be looked at."""
    status = msgspec.structs.replace(make_status(), state_dir=str(tmp_path))
    source = Source(lambda: status)
    kind, text = await source.read()
    assert kind == TEXT
    found = {family.name: family for family in read_text(text.decode())}
    (size,) = found["broappliance_filesystem_size_bytes"].samples
    assert size.labels["directory"] == str(tmp_path)
    assert size.value > found["broappliance_filesystem_available_bytes"].samples[0].value > 0
    kind, text = await source.read("application/openmetrics-text")
    assert kind == OPENMETRICS
    assert text.endswith(b"# EOF\n")


def test_two_thousand_series_take_little_time() -> None:
    """The processor time of making and writing a page; the bound leaves a slow machine room."""
    numbers = itertools.count(1, 13)
    some = [fill_status(numbers) for _ in range(3)]
    lines = tuple(
        msgspec.structs.replace(
            line, service=msgspec.structs.replace(line.service, name=f"{number}.{line.service.name}")
        )
        for number, each in enumerate(some)
        for line in each.services
    )
    status: Status = msgspec.structs.replace(some[0], services=lines)
    source = Source(lambda: status)
    assert source.page(status).render().count(b"\n") > 2000
    took = []
    for _ in range(3):
        began = time.process_time()
        source.page(status).render()
        took.append(time.process_time() - began)
    assert min(took) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_service_has_a_table(kind: str) -> None:
    """Nothing of a service falls back to a name without a type."""
    status = make_status()
    line = next(each for each in status.services if each.service.name == f"{kind}.x")
    page = Page({"node": "n"})
    Walker(TABLES).add(page, line.figures, page.labels)
    assert page.metrics
    assert [metric.name for metric in page.metrics if metric.kind == "unknown"] == []
