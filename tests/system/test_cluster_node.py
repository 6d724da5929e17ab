"""Whole programs as nodes of a ZeroMQ cluster: one of them is the proxy, and both publish and subscribe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import trio

from tests.interop.product import open_product, open_subscriber, run_command

CLUSTER = """\
[cluster]
backend = "zeromq"
node = "{name}"
nodes.logger-1 = {{type = "logger"}}
nodes.worker-1 = {{type = "worker"}}
[cluster.zeromq]
read = "ipc://{folder}/r"
write = "ipc://{folder}/w"
"""
HOOK = """\
[[hook]]
name = "answer"
on = ["event:My::question"]
from = ["cluster"]
run = "site_answer:on_question"
isolation = "task"
[[sink]]
name = "nodes"
on = ["node:*"]
path = "nodes.log"
flush_every = "10ms"
"""
CODE = """\
async def on_question(record, ctx):
    ctx.publish_event("answers.x", "My::answer", record["args"][0])
"""


async def test_two_programs_talk(tmp_path: Path) -> None:
    """Each sees the other come; a hook of the one answers what the command line of the other asks."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    (first / "site_answer.py").write_text(CODE)
    logger = CLUSTER.format(name="logger-1", folder=tmp_path) + 'subscribe = ["my."]\nrun_proxy = true\n' + HOOK
    worker = CLUSTER.format(name="worker-1", folder=tmp_path)
    async with open_product(first, logger) as one, open_product(second, worker) as two:
        async with open_subscriber(two, "--json", "answers.") as journal:
            with trio.fail_after(20):
                while not journal.texts("line"):
                    await run_command(two, "publish", "event", "my.question", "My::question", "41")
                    await trio.sleep(0.05)
            answer = json.loads(journal.texts("line")[0])
            assert answer["name"] == "My::answer"
            assert answer["plain"] == [41]
        status = await run_command(two, "status")
        assert re.search(r"^logger-1 +logger +up ", status, re.MULTILINE)
        status = await run_command(one, "status")
        assert f"ipc://{tmp_path}/r" in status
        news = (one.state / "nodes.log.part", one.state / "nodes.log")
        lines = [json.loads(line) for path in news if path.exists() for line in path.read_text().splitlines()]
        assert [(line["node"], line["status"]) for line in lines] == [("worker-1", "up")]
