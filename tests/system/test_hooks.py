"""A hook that raises, hangs or crawls costs its own records, whatever its policy; everybody else gets everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import BASE, DOOR, SINK, delivered, hook, open_program, open_writer, rows, wait_for, write_hooks

pytestmark = pytest.mark.slow

TOTAL = 20_000
REASONS = {
    ("fail", "block"): {"hook_error"},
    ("fail", "drop_oldest"): {"hook_error"},
    ("fail", "drop_newest"): {"hook_error"},
    ("hang", "block"): {"timeout", "stalled", "shutdown"},
    ("hang", "drop_oldest"): {"timeout", "queue_full", "shutdown"},
    ("hang", "drop_newest"): {"timeout", "queue_full", "shutdown"},
    ("crawl", "drop_oldest"): {"queue_full", "shutdown"},
    ("crawl", "drop_newest"): {"queue_full", "shutdown"},
}
"""What the culprit's records may be dropped for."""


@pytest.mark.parametrize(("function", "policy"), list(REASONS))
def test_a_bad_hook_hurts_nobody_else(tmp_path: Path, function: str, policy: str) -> None:
    """The sink and a good hook get every record at 10,000 a second; every loss is in the books of the bad one."""
    noted = write_hooks(tmp_path)
    size = 50_000 if function == "fail" else 1000
    bad = hook(function, f'queue = "{policy}"', 'timeout = "250ms"', f"queue_size = {size}")
    good = hook("note", 'queue = "block"').replace('name = "h"', 'name = "good"')
    conf = BASE.replace('"5s"', '"1s"') + DOOR + SINK + bad + good
    with open_program(tmp_path, conf) as program, open_writer(program, limit=TOTAL) as writer:
        writer.finish()
        for account in ("sink.archive", "hook.good"):
            wait_for(lambda account=account: delivered(program, account, TOTAL))  # type: ignore[misc]
        if function == "fail":
            wait_for(lambda: program.account("hook.h")["dropped"].get("hook_error") == TOTAL)
        assert program.stop() == 0
        assert program.final("zmq.bro")["delivered"] == TOTAL
        for account in ("sink.archive", "hook.good"):
            assert (program.final(account)["delivered"], program.final(account)["dropped"]) == (TOTAL, {})
        culprit = program.final("hook.h")
        assert culprit["received"] == TOTAL
        assert culprit["dropped"].keys() <= REASONS[function, policy]
        assert sum(culprit["dropped"].values()) >= TOTAL - 100
        assert program.rows("conn") == rows(TOTAL)
        assert noted.read_text() == "".join(f"{seq}\n" for seq in range(1, TOTAL + 1))
        assert not program.parts()


def test_a_slow_hook_that_may_block_sets_the_pace(tmp_path: Path) -> None:
    """As long as it moves, it is waited for: it gets everything, and so does everybody else."""
    write_hooks(tmp_path)
    conf = BASE + DOOR + SINK + hook("plod", 'queue = "block"', "queue_size = 100")
    with open_program(tmp_path, conf) as program, open_writer(program, limit=600, rate=0) as writer:
        writer.finish()
        for account in ("hook.h", "sink.archive"):
            wait_for(lambda account=account: delivered(program, account, 600))  # type: ignore[misc]
        assert program.figures("zmq.bro")["missing"] == 0
        assert program.stop() == 0
        assert program.final("hook.h")["dropped"] == {}
        assert program.rows("conn") == rows(600)
