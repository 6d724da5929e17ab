"""A package that runs: what its hooks get, what stays, and that each of them harms only itself. Real processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from appliance.hooks import Reject, Retry
from appliance.hooks.failure import OverdueError
from appliance.hooks.sites.host import name_of
from appliance.hooks.steer import Failed
from appliance.units import Size

from .harness import HEAD, running, write_package


def test_folder_is_known_by_its_way_from_the_logs() -> None:
    """So that joining the two always finds it."""
    assert name_of("/logs/a-1", "/logs") == "a-1"
    assert name_of("/logs/2026/a-1", "/logs") == "2026/a-1"
    assert name_of("/logs/..a", "/logs") == "..a"
    assert name_of("/elsewhere/a", "/logs") == "/elsewhere/a"
    assert name_of("/elsewhere/a", "") == "a"


async def test_hooks_get_what_they_ask_for(tmp_path: Path) -> None:
    """The name; the path too, or only, if they say so; a second argument with a default is theirs."""
    text = (
        HEAD
        + """
from pathlib import Path
def name(n): say(f"{n!r}")
def both(n, p): say(f"{n!r} {type(p).__name__} {p.name}")
def text(n, p: str): say(f"{n!r} {type(p).__name__}")
def path(p: Path): say(f"{isinstance(p, Path)} {p.parent == Path(LOGS_PATH)}")
def default(n, verbose=False): say(f"{n!r} {verbose}")
HOOK = [name, both, text, path, default]
"""
    )
    async with running(tmp_path, text) as site:
        for callee in site.described.hooks:
            await site.call(callee.name, "a-1")
    assert [line.replace("PosixPath", "Path") for line in site.told] == [
        "'a-1'", "'a-1' Path a-1", "'a-1' str", "True True", "'a-1' False",
    ]  # fmt: skip


async def test_names_need_not_be_text(tmp_path: Path) -> None:
    """They are what the file system says they are."""
    async with running(tmp_path, HEAD + "import os\nHOOK = [lambda n: say(os.fsencode(n))]\n") as site:
        await site.call("lambda", "a\udcff")
    assert site.told == [r"b'a\xff'"]


async def test_what_a_module_remembers_stays_until_its_exit(tmp_path: Path) -> None:
    """Between calls, and between its hooks and its EXIT callable."""
    text = HEAD + "seen = []\nHOOK = [seen.append]\nEXIT = [lambda: say(seen)]\n"
    async with running(tmp_path, text.replace("seen.append", "lambda n: seen.append(n)")) as site:
        for name in ("a", "b", "c"):
            await site.call("lambda", name)
    assert site.told == ["['a', 'b', 'c']"]


async def test_exit_runs_once_even_if_there_is_no_hook(tmp_path: Path) -> None:
    """And if nothing was ever called."""
    async with running(tmp_path, HEAD + "HOOK = []\nEXIT = [lambda: say('end')]\n") as site:
        assert site.told == []
    assert site.told == ["end"]
    assert site.host.statistics().exits_done == 1


async def test_each_exit_has_its_own_time_and_its_own_luck(tmp_path: Path) -> None:
    """One that raises, hangs or ends its process takes none of the others with it."""
    text = (
        HEAD
        + """
import os, time
def raises(): raise OSError("no")
def hangs(): time.sleep(600)
def leaves(): os._exit(3)
def first(): say("first")
def last(): say("last")
EXIT = [first, raises, hangs, leaves, last]
"""
    )
    async with running(tmp_path, text, exit_timeout_s=0.5) as site:
        pass
    figures = site.host.statistics()
    assert site.told == ["first", "last"]
    assert (figures.exits_done, figures.exits_failed, figures.last_error) == (2, 3, "leaves: exited with 3")


@pytest.mark.parametrize(
    ("body", "raised", "told"),
    [
        ("raise ValueError('no ' + name)", Failed, "ValueError: no a"),
        ("import sys; sys.exit(4)", Failed, "SystemExit: 4"),
        ("import os; os._exit(5)", Failed, "exited with 5"),
        ("import ctypes; ctypes.string_at(0)", Failed, "killed by SIGSEGV"),
        ("import os; os.close(3)", Failed, "lost its connection|closed its connection|exited with"),
        ("import os; os.write(3, b'garbage')", Failed, "meddled with the connection"),
        ("import time; time.sleep(600)", OverdueError, "not finished within 1s"),
        ("from appliance.hooks import Retry; raise Retry('later', after=7)", Retry, "later"),
        ("from appliance.hooks import Reject; raise Reject('never')", Reject, "never"),
    ],
)
async def test_way_of_ending_is_told(tmp_path: Path, body: str, raised: type[Exception], told: str) -> None:
    """And the other hooks, the next call of this one included, do not suffer from it."""
    files = {
        "__init__": "from .bad import bad\nfrom .good import good\nHOOK = [bad, good]\n",
        "bad": f"def bad(name):\n    if name == 'a':\n        {body}\n",
        "good": HEAD + "def good(name): say(name)\n",
    }
    async with running(tmp_path, files, timeout_s=1) as site:
        with pytest.raises(raised, match=told) as caught:
            await site.call("bad", "a")
        await site.call("bad", "b")
        await site.call("good", "c")
    assert site.told == ["c"]
    if raised is Retry:
        assert getattr(caught.value, "after_s", None) == 7.0
    if "ValueError" in told:
        assert 'bad.py", line 3, in bad' in getattr(caught.value, "trace", "")


async def test_one_that_hangs_holds_up_no_other_module(tmp_path: Path) -> None:
    """Each module has a process of its own."""
    files = {
        "__init__": "from .bad import bad\nfrom .good import good\nHOOK = [bad, good]\n",
        "bad": HEAD + "import time\ndef bad(name):\n    say('hangs'); time.sleep(600)\n",
        "good": HEAD + "def good(name): say(name)\n",
    }
    async with running(tmp_path, files) as site, trio.open_nursery() as nursery:
        nursery.start_soon(site.call, "bad")
        while site.told != ["hangs"]:  # noqa: ASYNC110 - another process tells
            await trio.sleep(0.01)
        await site.call("good", "b")
        nursery.cancel_scope.cancel()
    assert site.told == ["hangs", "b"]


async def test_waiting_for_another_hook_of_the_module_is_not_charged(tmp_path: Path) -> None:
    """The time of a call begins when it does."""
    text = HEAD + "import time\ndef slow(n): time.sleep(0.7)\ndef quick(n): say(n)\nHOOK = [slow, quick]\n"
    async with running(tmp_path, text, timeout_s=1) as site, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(site.call, "slow")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(site.call, "quick")
    assert site.told == ["n"]


async def test_child_that_a_hook_forks_does_not_speak_for_it(tmp_path: Path) -> None:
    """It ends where the call ends."""
    text = (
        HEAD
        + "import os\ndef forks(n):\n    pid = os.fork()\n    pid and os.waitpid(pid, 0)\n    say(n)\nHOOK = [forks]\n"
    )
    async with running(tmp_path, text) as site:
        await site.call("forks", "a")
        await site.call("forks", "b")
    assert site.told == ["a", "a", "b", "b"]


async def test_finish_ends_one_life_and_another_begins_with_the_next_call(tmp_path: Path) -> None:
    """With the package loaded anew; EXIT callables run once for each life."""
    text = (
        HEAD
        + """
import atexit
atexit.register(say, "bye")
seen = []
def hook(n): seen.append(n)
HOOK = [hook]
EXIT = [lambda: say(seen)]
"""
    )
    async with running(tmp_path, text) as site:
        await site.call("hook", "a")
        await site.host.finish()
        assert site.told == ["['a']", "bye"]
        await site.host.finish()
        assert site.told == ["['a']", "bye"]
        await site.call("hook", "b")
    assert site.told == ["['a']", "bye", "['b']", "bye"]


async def test_call_that_comes_while_it_finishes_waits(tmp_path: Path) -> None:
    """It is the first of the next life."""
    text = HEAD + "import time\nHOOK = [lambda n: say(n)]\ndef end():\n    time.sleep(0.3); say('end')\nEXIT = [end]\n"
    async with running(tmp_path, text) as site, trio.open_nursery() as nursery:
        nursery.start_soon(site.host.finish)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(site.call, "lambda", "a")
    assert site.told == ["end", "a", "end"]


async def test_signal_for_everybody_does_not_end_it(tmp_path: Path) -> None:
    """A service manager sends it to every process; the appliance ends its own in order."""
    text = HEAD + "import os\nHOOK = [lambda n: say(os.getpid())]\nEXIT = [lambda: say('end')]\n"
    async with running(tmp_path, text) as site:
        await site.call("lambda")
        os.kill(int(site.told[0]), signal.SIGTERM)
    assert site.told[1:] == ["end"]
    assert site.host.statistics().exits_failed == 0


async def test_memory_can_be_limited(tmp_path: Path) -> None:
    """What a hook cannot have is an error of that hook."""
    text = "HOOK = [lambda n: len(bytearray(1 << 30))]\n"
    async with running(tmp_path, text, memory=Size(512 << 20)) as site:
        with pytest.raises(Failed, match="MemoryError"):
            await site.call("lambda")


async def test_package_that_was_changed_is_not_called_by_old_numbers(tmp_path: Path) -> None:
    """A process that is started later finds other functions: that is told, and none of them is called."""
    text = HEAD + "def one(n): say('one')\ndef two(n): say('two')\nHOOK = [one, two]\n"
    async with running(tmp_path, text) as site:
        await site.call("one")
        await site.host.finish()
        write_package(tmp_path, text.replace("[one, two]", "[two, one]"))
        with pytest.raises(Failed, match="have changed, reload"):
            await site.call("one")
    assert site.told == ["one"]
