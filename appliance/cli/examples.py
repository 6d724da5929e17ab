"""Examples at the end of each command's help. Imports nothing: ``--help`` answers at once."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "status": (
        ("status", "is all well? exit code 3: no"),
        ("status --watch", "live; arrows scroll, q ends it"),
        ("status --json | jq '.ledger[].account | select(.lost > 0)'", "what was lost, and why"),
        ("status --url https://sensor-3:8443 --token-file ops.token", "of another machine"),
    ),
    "reload": (
        ("reload --wait", "apply the changed file, and say what became of what"),
        ("reload --wait --json | jq -r '.mistakes[] | \"\\(.file):\\(.line)\"'", "where the mistakes are"),
    ),
    "config": (
        ("config", "what is in force, defaults included"),
        ("config | diff -I '^#' <(broappliance --config site.toml --print-config) -", "what a reload would change"),
        ("config --json | jq '.config.zmq[].bind'", ""),
    ),
    "token": (("token list --file api.tokens", "who may do what"),),
    "token new": (
        ("token new grafana --file api.tokens > grafana.token", "it may read"),
        ("token new ops --role operate --file api.tokens > ops.token", "and change things"),
    ),
    "token list": (("token list --file api.tokens", ""),),
    "publish": (("publish event zeek/event/my/alarm My::alarm 10.0.0.1 5", ""),),
    "publish event": (
        ("publish event zeek/event/my/alarm My::alarm 10.0.0.1 80/tcp 5min", "addr, port and interval"),
        ("publish event zeek/event/my/alarm My::name string:5", "the string, not the count"),
    ),
    "publish print": (("publish print bro/print/my 'it begins'", ""),),
    "subscribe": (
        ("subscribe zeek/event/my/ bro/print/", "events and prints, until Ctrl-C"),
        ("subscribe --json --count 1 zeek/event/my/", "the next one, for a program"),
    ),
    "schema": (("schema > broappliance.schema.json", "then: '#:schema broappliance.schema.json' in the first line"),),
    "capture": (("capture list", ""), ("capture rotate raw", "")),
    "capture list": (("capture list", ""), ("capture list --json | jq '.[].handlers[].statistics'", "")),
    "capture start": (
        ("capture start raw udp :8500", "datagrams to port 8500 of any address"),
        ("capture start dns ethernet eth1 --filter 'udp port 53' --rotate-size 1GiB", ""),
        ("capture start lines tcp 10.0.0.1:9000 --framing newline", "connect, a packet for each line"),
    ),
    "capture stop": (("capture stop telemetry/raw", "this handler of this capture, and no other"),),
    "capture rotate": (("capture rotate raw", "prints the finished files"),),
    "extract": (
        ("extract -o x.pcap --from -10m --host 10.0.0.1", "the last ten minutes of a host"),
        ("extract -o x.pcap --conn '10.0.0.1:51000-10.0.0.2:443/tcp'", "a connection"),
        ("extract -o x.pcap --uid CHhAvVGS1DHFjwGM9", "by Zeek's name for it"),
        ("extract -o - --from -1m --bpf 'tcp port 80' | tcpdump -nr -", ""),
        ("extract --count --from -1h --port 53", "only how many"),
    ),
    "hooks": (("hooks list", ""), ("hooks failed", "exit code 3 if there are any"), ("hooks retry --all", "")),
    "hooks list": (("hooks list", ""), ("hooks list --config site.toml", "also when the appliance does not run")),
    "hooks failed": (
        ("hooks failed --hook enrich", "of one hook"),
        ("hooks failed --json | jq -r '.[].error' | sort | uniq -c", "which errors, how often"),
    ),
    "hooks show": (("hooks show 17", "record, traceback and every attempt"),),
    "hooks retry": (("hooks retry 17 18", ""), ("hooks retry --hook enrich", "after it was mended")),
    "hooks purge": (
        ("hooks purge --hook enrich", "its dead letters"),
        ("hooks purge --hook old --waiting", "what waits for a hook that is in the file no more"),
    ),
    "evidence": (("evidence list", ""), ("evidence request --host 10.0.0.1 --before 5m --wait", "")),
    "evidence list": (("evidence list --limit 5", ""),),
    "evidence request": (
        ("evidence request --host 10.0.0.1 --before 5m --after 1m --wait", ""),
        ("evidence request notices --uid CHhAvVGS1DHFjwGM9 --reason 'case 4711'", ""),
    ),
    "layout": (("layout import /opt/zeek/etc/node.cfg", ""),),
    "layout import": (("layout import /opt/zeek/etc/node.cfg -o cluster.toml", ""),),
    "layout export": (
        ("layout export site.toml --zeek-version 8.0 -o cluster-layout.zeek", ""),
        ("layout export site.toml --add recorder-1", "only us, for a cluster that has a layout"),
    ),
    "pcap": (("pcap info *.pcap", ""), ("pcap query a.pcap b.pcap -o both.pcap", "")),
    "pcap info": (("pcap info /data/*.pcap", "times covered, gaps, damage; exit code 3 if torn"),),
    "pcap query": (("pcap query *.pcap --from 2026-11-21T09:00:00 --to 2026-11-21T10:00:00 -o hour.pcap", ""),),
    "pcap segment": (("pcap segment big.pcap --every 15m --directory pieces --dry-run", "what would be written"),),
    "pcap index": (("pcap index edge-1.pcap", ""), ("pcap index --check edge-*.pcap", "compare, write nothing")),
    "store": (("store list", ""), ("store get hosts 10.0.0.1", ""), ("store put hosts 10.0.0.1 seen --ttl 1h", "")),
    "store list": (("store list", ""),),
    "store keys": (("store keys hosts --limit 20", ""),),
    "store entries": (("store entries hosts --json", "values with their types"),),
    "store get": (("store get hosts 10.0.0.1", ""),),
    "store exists": (("store exists hosts 10.0.0.1 && echo known", ""),),
    "store size": (("store size hosts", ""),),
    "store put": (("store put hosts 10.0.0.1 string:42 --ttl 10min", ""),),
    "store put-unique": (("store put-unique hosts 10.0.0.1 first", "exit code 1 if there is one"),),
    "store increment": (("store increment counts 10.0.0.1 1", ""),),
    "store decrement": (("store decrement counts 10.0.0.1 1", ""),),
    "store append": (("store append notes 10.0.0.1 ' again'", ""),),
    "store insert": (("store insert members group 10.0.0.1", "into a set"), ("store insert ages table a 5", "at a")),
    "store remove": (("store remove members group 10.0.0.1", ""),),
    "store push": (("store push lists last 10.0.0.1", ""),),
    "store pop": (("store pop lists last", ""),),
    "store erase": (("store erase hosts 10.0.0.1", ""),),
    "store clear": (("store clear hosts", ""),),
    "store watch": (("store watch hosts", "until Ctrl-C"),),
    "import": (("import bsc.yaml -o captures.toml", ""),),
    "demo": (("demo", "until Ctrl-C"), ("demo --once", "check that everything arrives; exit code 0")),
}
"""Command → what is typed after ``broappliance``, and what for."""
