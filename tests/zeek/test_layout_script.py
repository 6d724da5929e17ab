"""Layout scripts of every generation, and such as are written against us."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.zeek.layout import MAX_BYTES, LayoutError, NodeType
from appliance.zeek.layout_script import parse_layout_script
from tests.zeek.layouts import GOLDEN, read, shown

SCRIPTS = sorted(path.name for path in GOLDEN.iterdir() if path.suffix in (".zeek", ".bro"))
NODE = '["a"] = [$node_type=Cluster::WORKER, $ip=1.2.3.4'


def parse(text: str, **environ: str) -> list[str]:
    return shown(parse_layout_script(text.encode("utf-8", "surrogateescape"), "x.zeek", environ=environ))


def refusal(data: bytes) -> str:
    with pytest.raises(LayoutError) as caught:
        parse_layout_script(data, "x.zeek")
    assert caught.value.line
    assert caught.value.column
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "is_logger", "last", "remarks"),
    [
        ("broctl-1.4.bro", 6, None, "time-machine time_machine 192.0.2.11 47757 None", 4),
        ("brocontrol-1.9.bro", 7, False, "time-machine time_machine 192.0.2.11 47757 None", 0),
        ("zeekctl-2.0.zeek", 4, True, "worker-1 worker 2001:db8::2 47763 None manager eth0", 0),
        ("zeekctl-2.5.zeek", 5, False, "worker-1 worker 127.0.0.1 27764 None manager eth0", 0),
        ("zeekctl-2.6.zeek", 6, False, "worker-1-2 worker 192.0.2.2 27767 9995 manager", 1),
        ("standalone-2.6.zeek", 0, None, None, 3),
        ("generator-8.1.zeek", 5, False, "worker-2 worker 127.0.0.1 None 9995 manager", 2),
        ("generator-9.0.zeek", 4, False, "c-w-01-worker-eth1-1 worker 2001:db8::11 None 0 manager", 3),
    ],
)
def test_layouts_of_every_generator(
    name: str, count: int, is_logger: bool | None, last: str | None, remarks: int
) -> None:
    """Every node is read; what is no node is told of."""
    parsed = read(name)
    lines = shown(parsed)
    assert len(lines) == count
    assert (lines[-1] if lines else None) == last
    assert parsed.layout.manager_is_logger is is_logger
    assert len(parsed.remarks) == remarks
    assert all(remark.file == name and remark.line for remark in parsed.remarks)


def test_fields_of_bro_before_2_6_are_kept() -> None:
    """The records of older releases had fields that are gone; they stay as they are written."""
    parsed = read("broctl-1.4.bro")
    assert [(node.name, node.extra) for node in parsed.layout.nodes if node.extra] == [
        ("manager", (("workers", 'set( "worker-1" , "worker-2" )'),)),
        ("proxy-1", (("workers", 'set( "worker-1" , "worker-2" )'),)),
        ("worker-1", (("proxy", '"proxy-1"'),)),
        ("worker-2", (("proxy", '"proxy-1"'),)),
    ]
    assert str(parsed.remarks[0]) == "broctl-1.4.bro:4:88: $workers of 'manager' is not one that we know; kept"


def test_hosts_of_a_multi_host_layout_are_names_to_look_up() -> None:
    """A host that Zeek would ask the DNS for is told by its name, one with an address by that."""
    nodes = {node.name: node.ip for node in read("generator-9.0.zeek").layout.nodes}
    assert (nodes["c-mgr-logger-1"], nodes["c-w-01-worker-eth1-1"]) == ("c-mgr", "2001:db8::11")


def test_layout_by_hand() -> None:
    """Constants, constructors, calls, conditions, comments in odd places, and what only Zeek can compute."""
    parsed = read("by-hand.zeek")
    assert shown(parsed) == [
        "manager manager 10.0.0.1 27761 None",
        'logger-1 logger 10.0.0.9 27762 None rack="A \\"upper\\" row"',
        "proxy-1 proxy manager.example.org 27763 None manager",
        'worker-1 worker 10.0.0.3 None None manager lb_filter=cat ( "vlan " , getenv ( "VLAN" ) )',
        "worker-2 worker ? 27766 None manager ip=pick_address(sensor_net, 2)",
    ]
    assert parsed.layout.retry_interval_ns == 90 * 10**9
    assert [(remark.line, remark.message.partition(" ")[0]) for remark in parsed.remarks] == [
        (2, "loads"),
        (5, "redef"),
        (18, "$rack"),
        (21, "$lb_filter"),
        (26, "'worker-2'"),
        (26, "$ip"),
        (30, "function"),
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_line_ends_and_byte_order_marks_do_not_matter(name: str) -> None:
    """A file from another system says the same, with the same places."""
    data = (GOLDEN / name).read_bytes()
    other = parse_layout_script(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"), name, environ={})
    assert other == read(name)


def test_later_entries_count_and_assignments_replace() -> None:
    """``+=`` merges, ``=`` begins anew, in order."""
    first, second = f"redef Cluster::nodes += {{ {NODE}] }};", f"{{ {NODE}, $p=1/tcp] }};"
    both = parse_layout_script(f"{first} redef Cluster::nodes += {second}".encode(), "x.zeek")
    assert shown(both) == ["a worker 1.2.3.4 1 None"]
    assert [remark.message for remark in both.remarks] == ["'a' is defined twice, the later counts"]
    other = first.replace('"a"', '"b"')
    replaced = parse_layout_script(f"{other} redef Cluster::nodes = {second}".encode(), "x.zeek")
    assert shown(replaced) == shown(both)


def test_fields_that_are_set_twice() -> None:
    """The later counts, whether it is known or not."""
    text = 'redef Cluster::nodes = { ["a"] = [$ip=1.1.1.1, $p=x, $ip=y, $p=2/tcp] };'
    parsed = parse_layout_script(text.encode(), "x.zeek")
    assert shown(parsed) == ["a none ? 2 None ip=y"]
    assert sum("is set twice" in remark.message for remark in parsed.remarks) == 2


def test_enums_without_their_module_and_environment() -> None:
    """Inside ``module Cluster`` names are short; ``getenv`` asks our environment."""
    text = 'module Cluster; redef nodes = { ["a"] = [$node_type=PROXY, $ip=to_addr(getenv("IP")), $p=0/unknown] };'
    assert parse(text, IP="::1") == ["a proxy ::1 None None"]
    assert parse(text) == ['a proxy ? None None ip=to_addr(getenv("IP"))']


def test_conditions_of_several_lines() -> None:
    """They end with their bracket, whatever stands in strings and comments."""
    text = f"""@if ( getenv("(") == "" &&  # (
              (T || F) )
    redef Cluster::nodes += {{ {NODE}, $interface=@DIR + "/x", $p=1/tcp] }};
    @else
    @endif"""
    assert parse(text) == ['a worker 1.2.3.4 1 None interface=@DIR + "/x"']


def test_strings_with_escapes_and_other_bytes() -> None:
    """Names are what the string stands for; bytes that are not UTF-8 survive."""
    text = r'redef Cluster::nodes = { ["a\x41\"\\\tä\xc3\xa4"] = [$node_type=Cluster::NONE], ["%s"] = [$ip=::1] };'
    parsed = parse_layout_script(text.encode().replace(b"%s", b"\xff").replace(b"::1]", b"[::1]]"), "x.zeek")
    assert [node.name for node in parsed.layout.nodes] == ['aA"\\\tää', "\udcff"]
    assert [remark.message for remark in parsed.remarks] == ["'\\udcff' has no $node_type"]


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        ("$p=80/udp", "p=80/udp"),
        ("$p=70000/tcp", "p=70000/tcp"),
        ("$ip=300.1.1.1", "ip=300.1.1.1"),
        ("$manager=the_manager", "manager=the_manager"),
        ("$node_type=Cluster::DATANODE", "node_type=Cluster::DATANODE"),
        ('$interface="a" + "b"', 'interface="a" + "b"'),
        ("$p=a ? 1/tcp : 2/tcp", "p=a ? 1/tcp : 2/tcp"),
    ],
)
def test_values_that_cannot_be_known_stay_with_the_node(field: str, kept: str) -> None:
    """The field is not guessed and not dropped."""
    (line,) = parse(f'redef Cluster::nodes = {{ ["a"] = [{field}] }};')
    assert line.endswith(kept)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'redef Cluster::nodes = {\n ["a] = [', "x.zeek:2:3: a string without its end"),
        (b'redef x = "abc\\"', "x.zeek:1:11: a string without its end"),
        (b"redef Cluster::nodes = " + b"[" * 500_000, "x.zeek:1:89: brackets nested too deep"),
        (b"redef x = " + b"(" * 500_000, "x.zeek:1:75: brackets nested too deep"),
        (b"event x() " + b"{" * 500_000, "x.zeek:1:75: brackets nested too deep"),
        (b"redef Cluster::nodes = {[-" + b"{" * 500_000, "x.zeek:1:89: brackets nested too deep"),
        (b"@if ( T )\n" * 500, "x.zeek:65:1: conditions nested too deep"),
        (
            b"redef Cluster::nodes = {\n",
            "x.zeek:2:1: expected '}', found the end of the file, it closes line 1, column",
        ),
        (b"redef Cluster::nodes = { (] };", "x.zeek:1:27: expected"),
        (b"redef Cluster::nodes = { [1) = 2 };", "x.zeek:1:28: expected ']', found ')', it closes line 1, column 26"),
        (b"redef Cluster::nodes = { [1] = [$=2] };", "x.zeek:1:34: expected the name of a field"),
        (b"redef Cluster::nodes = { [1] = , };", "x.zeek:1:32: expected a value, found ','"),
        (b"\x7fELF\x02", "x.zeek:1:1: unexpected character 0x7f"),
        (b"[cluster]\n", "x.zeek:1:1: expected a statement, found '['"),
        (b"redef x = 1", "x.zeek:1:12: expected ';'"),
        (b"redef 1 = 1;", "x.zeek:1:7: expected a name"),
        (b"@endif\n", "x.zeek:1:1: @endif without @if"),
        (b"@if ( (T)\n", "x.zeek:1:1: a condition without its end"),
        (b'redef Cluster::nodes = { ["a"] = [$x=1 +\n@if ( T )\n2] };', "x.zeek:2:1: @if within a value"),
        (b"export { module x;", "x.zeek:1:19: expected '}'"),
        (b"\n" * MAX_BYTES + b"abc", f"x.zeek:{MAX_BYTES + 1}:1: larger than 2 MiB"),
    ],
)
def test_hostile_files_give_one_clear_error(data: bytes, told: str) -> None:
    """What cannot be a layout is refused at its place."""
    assert refusal(data[: MAX_BYTES + 1]).startswith(told)


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "1.", "[a:", "/", "'", '"" ', "a::", "1.1.1.1 ", "0x", "\\", "$a ", "#\n", ",", "1e9 ", "-"]
)
def test_long_runs_cost_no_more_than_their_length(piece: str) -> None:
    """No word makes the reader look at the rest again and again: a hundredfold of it takes about a hundredfold."""
    data = f"redef x = {piece * (300_000 // len(piece))}".encode()
    assert "x.zeek:" in refusal(data)


def test_remarks_are_bounded() -> None:
    """A file of nothing but oddities is told of in a thousand lines and a number."""
    entry = "['a'] = [$x=1],".replace("'", '"')
    parsed = parse_layout_script(f"redef Cluster::nodes = {{ {entry * 1000} }};".encode(), "x.zeek")
    assert len(parsed.remarks) == 1001
    assert parsed.remarks[-1].message == "1999 more remarks are left out"


WORDS = ["redef Cluster::nodes", "+=", "=", "{", "}", "[", "]", "$ip", '"a"', ",", ";", "1/tcp"]


@given(st.lists(st.sampled_from(WORDS)))
@settings(deadline=None)
def test_any_words_are_a_layout_or_a_mistake(words: list[str]) -> None:
    """Nothing else comes out of the reader."""
    with suppress(LayoutError):
        parsed = parse_layout_script(" ".join(words).encode(), "x.zeek")
        assert all(node.type is NodeType.NONE for node in parsed.layout.nodes)


@given(st.sampled_from(SCRIPTS), st.integers(0, 1 << 16), st.binary(max_size=4))
@settings(deadline=None)
def test_damaged_samples_are_a_layout_or_a_mistake(name: str, at: int, junk: bytes) -> None:
    """A few bytes elsewhere in a real file raise nothing else."""
    data = (GOLDEN / name).read_bytes()
    at %= len(data)
    with suppress(LayoutError):
        parse_layout_script(data[:at] + junk + data[at + len(junk) :], name)
