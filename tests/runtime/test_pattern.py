from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from appliance.runtime.pattern import PART_SUFFIX, PathPattern, numbered, safe_name

FIELDS = frozenset({"path", "node"})
S = 10**9
NOON = int(datetime(2024, 2, 5, 12, 34, 56, tzinfo=UTC).timestamp()) * S + 789_012_345  # a Monday
HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="./%@-x\0\n", max_size=12),
    st.text(alphabet="ab.", max_size=400),
    st.sampled_from(["", ".", "..", "../../etc/passwd", "x.part", ".part", "part", "@unknown", "unknown", "\ud800"]),
)
TIMES = st.integers(0, 253_402_300_800 * S - 1)
TEMPLATES = st.sampled_from(
    [
        "/srv/logs/{path}/%Y-%m-%d-%H.log",
        "/{path}",
        "/srv/.{path}",
        "/srv/x.{path}",
        "/srv/{path}rt",
        "/srv/{node}{path}",
        "/srv/%A-{path}-{node}/%s.%f/{{%%}}-{path}.pcap.zst",
    ]
)


def render(template: str, **fields: str) -> str:
    return PathPattern(template, fields=FIELDS).render(NOON, fields)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/d/%Y-%m-%d-%H-%M-%S.pcap", "/d/2024-02-05-12-34-56.pcap"),
        ("/d/%y%j", "/d/24036"),
        ("/d/%G-W%V-%U-%W", "/d/2024-W06-05-06"),
        ("/d/%a-%A-%b-%B", "/d/Mon-Monday-Feb-February"),
        ("/d/%s.%f", f"/d/{NOON // S}.789012"),
        ("/d/100%%/{{name}}", "/d/100%/{name}"),
        ("/d/{path}/{node}-{path}.log", "/d/conn/worker-1-conn.log"),
        ("//d/./e//f", "/d/e/f"),
    ],
)
def test_render(template: str, path: str) -> None:
    """Directives are rendered in UTC and English, fields by their values, and escapes as themselves."""
    assert render(template, path="conn", node="worker-1") == path


@given(TIMES)
@example(253_402_300_800 * S - 1)
@example(0)
def test_times_agree_with_the_standard_library(time_ns: int) -> None:
    """Every second until the year 9999 is rendered as datetime does it."""
    when = datetime.fromtimestamp(time_ns // S, UTC)
    template = "/%Y/%y/%m/%d/%H/%M/%S/%j/%U/%W/%V/%G/%a/%A/%b/%B"
    assert PathPattern(template, fields=FIELDS).render(time_ns, {}) == when.strftime(template)
    assert PathPattern("/%s-%f", fields=FIELDS).render(time_ns, {}) == f"/{time_ns // S}-{time_ns % S // 1000:06d}"


@pytest.mark.parametrize("time_ns", [-1, 253_402_300_800 * S])
def test_time_out_of_range(time_ns: int) -> None:
    """A time that datetime cannot hold is refused."""
    with pytest.raises(ValueError, match="out of range"):
        PathPattern("/d/%Y", fields=FIELDS).render(time_ns, {})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("/d/%Q", r"'%Q' at character 4 is no directive; allowed: .*%Y.*%H.*%%$"),
        ("/d/%c", "no directive"),
        ("/d/%-d", "'%-' at character 4"),
        ("/d/%", "single '%' at character 4; write '%%'"),
        ("/d/{nod}", r"'{nod}' at character 4 is no field; allowed: {node} {path}$"),
        ("/d/{}", "'{}' at character 4"),
        ("/d/{path!r}", "'{path!r}' at character 4"),
        ("/d/{path:>9}", "'{path:>9}'"),
        ("/d/{path.__class__}", "'{path.__class__}'"),
        ("/d/{path[0]}", "no field"),
        ("/d/{ path }", "no field"),
        ("/d/{path", "single '{' at character 4; write '{{'"),
        ("/d/x}", "single '}' at character 5; write '}}'"),
        ("/d/{%Y}", "no field"),
        ("/d/a\nb", r"'\\n' at character 5 must not be in a path"),
        ("/d/a\0b", "must not be in a path"),
        ("d/x", "not an absolute path"),
        ("", "names a directory"),
        ("/", "names a directory"),
        ("/d/%Y/", "names a directory"),
        ("/d/.", "names a directory"),
        ("/d/../x", "'..'"),
        ("/d/..", "'..'"),
        ("/d/%H.part", "must not end in '.part'"),
        ("/d/" + "x" * 232, "longer than 255 bytes"),
        ("/d/" + "ü" * 100 + "-{path}", "longer than 255 bytes"),
        ("/d/" + "{path}" * 5, "longer than 255 bytes"),
    ],
)
def test_mistakes(template: str, message: str) -> None:
    """Whatever is not whitelisted is refused with its place and with what is allowed."""
    with pytest.raises(ValueError, match=message):
        PathPattern(template, fields=FIELDS)


def test_no_fields_are_allowed() -> None:
    """A pattern without fields says so."""
    with pytest.raises(ValueError, match="allowed: none"):
        PathPattern("/d/{path}", fields=set())


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("conn", "conn"),
        ("worker-1.example_A", "worker-1.example_A"),
        ("", "@unknown"),
        ("..", "%2E."),
        ("../etc", "%2E.%2Fetc"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("@unknown", "%40unknown"),
        ("ü\0", "%C3%BC%00"),
        ("\udcff", "%ED%B3%BF"),
    ],
)
def test_safe_name(value: str, name: str) -> None:
    """Safe values stay, others are encoded byte by byte, and the empty one has a name that no value has."""
    assert safe_name(value) == name


def test_long_values_are_cut() -> None:
    """A value that is too long keeps its beginning, cut between encoded bytes, and ends in a hash of the whole."""
    for length in range(47, 53):
        assert re.fullmatch(
            r"a*(%C3|%BC)+@[0-9a-f]{40}", safe_name("a" * (length % 3) + "ü" * 40, limit_bytes=length + 1)
        )
    assert safe_name("a" * 48, limit_bytes=48) == "a" * 48
    assert safe_name("a" * 49, limit_bytes=48) != safe_name("a" * 50, limit_bytes=48)
    name = Path(render("/d/{path}-{node}.log", path="p" * 10**6, node="/" * 300)).name
    assert len(name) == 255 - 24


@given(TEMPLATES, TIMES, HOSTILE, HOSTILE)
@example("/srv/x.{path}", 0, "part", "")
@example("/srv/.{path}", 0, ".", "")
def test_values_cannot_climb(template: str, time_ns: int, path: str, node: str) -> None:
    """Whatever the values are, the file is below the static root, as deep as the template says, and can be made."""
    pattern = PathPattern(template, fields=FIELDS)
    final = pattern.render(time_ns, {"path": path, "node": node})
    assert os.path.normpath(final) == final
    assert Path(final).is_relative_to(pattern.static_root)
    assert final.count("/") == template.count("/")
    assert final.isascii()
    assert final.isprintable()
    assert not final.endswith(PART_SUFFIX)
    assert max(map(len, f"{numbered(final, 999_999)}.zst.part".split("/"))) <= 255


@given(TEMPLATES, TIMES, HOSTILE, HOSTILE, HOSTILE)
@example("/srv/x.{path}", 0, "part", "%2Epart", "")
@example("/{path}", 0, "x.part", "x%2Epart", "")
@example("/{path}", 0, "", "@unknown", "")
@example("/{path}", 0, "a" * 300, "a" * 301, "")
def test_values_do_not_meet(template: str, time_ns: int, one: str, other: str, node: str) -> None:
    """Two values of a field never give the same file."""
    assume(one != other)
    pattern = PathPattern(template, fields=FIELDS)
    paths = {pattern.render(time_ns, {"path": value, "node": node}) for value in (one, other)}
    assert len(paths) == 2


@given(TEMPLATES, TIMES, HOSTILE, HOSTILE, st.integers(0, 999_999))
@example("/srv/x.{path}", 0, "part", "", 3)
def test_matches_what_it_renders(template: str, time_ns: int, path: str, node: str, counter: int) -> None:
    """Every rendered path is recognised, with counter and ``.part`` too, and parsing loses nothing."""
    pattern = PathPattern(template, fields=FIELDS)
    final = pattern.render(time_ns, {"path": path, "node": node})
    assert pattern.parse(final) == (final, 0)
    name = numbered(final, counter)
    parsed = pattern.parse(name + PART_SUFFIX)
    assert parsed
    assert numbered(*parsed) == name
    assert pattern.matches(name)


def test_parse_finds_the_counter() -> None:
    """A counter is told from the pattern's own numbers."""
    pattern = PathPattern("/d/{path}/%Y-%m-%d.log", fields=FIELDS)
    assert pattern.parse("/d/conn/2024-01-12.log.part") == ("/d/conn/2024-01-12.log", 0)
    assert pattern.parse("/d/conn/2024-01-12-7.log.part") == ("/d/conn/2024-01-12.log", 7)


@pytest.mark.parametrize(
    "path",
    [
        *("/srv/06.log", "/srv/conn/6.log", "/srv/conn/06.log.zst", "/srv/conn/06-0.log", "/srv/conn/06-01.log"),
        *("/srv/conn/x/06.log", "/srv/../06.log", "/srv/.conn/06.log", "/srv/a b/06.log", "/srv/conn/06.log.part.part"),
        *("/srv/conn/06-1-1.log", "/srv", "/srv/", "/srv/conn/", "/srvconn/06.log", "srv/conn/06.log", "/srv//06.log"),
        *("", "/", "/srv/conn/06.log\n", "/srv/conn/.part"),
    ],
)
def test_does_not_match(path: str) -> None:
    """Other files are not taken for the pattern's."""
    assert not PathPattern("/srv/{path}/%H.log", fields=FIELDS).matches(path)


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/d.x/06.log", "/d.x/06-1.log"),
        ("/d/06", "/d/06-1"),
        ("/d/a.log.gz", "/d/a-1.log.gz"),
        ("/d/10.0.0.1", "/d/10.0.0.1-1"),
        ("/d/10.0.0.1.log", "/d/10.0.0.1-1.log"),
        ("/d/.log", "/d/.log-1"),
        ("a.b.c", "a.b-1.c"),
    ],
)
def test_numbered(path: str, result: str) -> None:
    """The counter goes before the suffixes."""
    assert numbered(path, 1) == result
    assert numbered(path, 0) == path


@pytest.mark.parametrize(
    ("template", "granularity_ns"),
    [
        ("/d/{path}.log", None),
        ("/d/%Y/%B", 86400 * S),
        ("/d/%V", 86400 * S),
        ("/d/%Y-%H", 3600 * S),
        ("/d/%M/%H", 60 * S),
        ("/d/%S", S),
        ("/d/%s", S),
        ("/d/%S.%f", 1000),
    ],
)
def test_granularity(template: str, granularity_ns: int | None) -> None:
    """The granularity is the finest directive's unit."""
    assert PathPattern(template, fields=FIELDS).granularity_ns == granularity_ns


@given(st.sampled_from("YymdHMSjUWVGaAbBfs"), TIMES, st.integers(0))
def test_nothing_changes_within_a_granule(letter: str, time_ns: int, later_ns: int) -> None:
    """Between two multiples of the granularity the path stays the same."""
    pattern = PathPattern(f"/%{letter}", fields=FIELDS)
    granule_ns = pattern.granularity_ns
    assert granule_ns
    start_ns = time_ns - time_ns % granule_ns
    assert pattern.render(start_ns, {}) == pattern.render(start_ns + later_ns % granule_ns, {})


@pytest.mark.parametrize(
    ("template", "root"),
    [
        ("/srv/logs/{path}/%H.log", "/srv/logs"),
        ("/srv/x-{path}/y/%H.log", "/srv"),
        ("/{path}/x", "/"),
        ("/srv/fixed.log", "/srv"),
        ("/fixed.log", "/"),
        ("/s%%v/{{x}}/./%H", "/s%v/{x}"),
    ],
)
def test_static_root(template: str, root: str) -> None:
    """The static root is the longest leading directory that is always the same."""
    pattern = PathPattern(template, fields=FIELDS)
    assert pattern.static_root == root
    assert pattern.matches(pattern.render(NOON, {"path": "conn"}))


@given(st.text(alphabet="ab%{}.-", min_size=1, max_size=9))
def test_escape(name: str) -> None:
    """An escaped directory renders to itself."""
    assume(name not in (".", ".."))
    pattern = PathPattern(f"/{PathPattern.escape(name)}/x", fields=FIELDS)
    assert pattern.static_root == f"/{name}"
    assert pattern.render(0, {}) == f"/{name}/x"


def test_used_fields() -> None:
    """The pattern says which fields it needs."""
    assert PathPattern("/{path}/%H.log", fields=FIELDS).used_fields == {"path"}
