"""A package of BroAPT's kind in a whole appliance: unchanged, through restarts, whatever goes wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.app import Appliance
from appliance.config import load
from appliance.errors import ConfigError
from appliance.model import FolderReady
from appliance.parts import prepare
from appliance.runtime.ledger import Account
from tests.hooks.sites.harness import HEAD, write_package

PACKAGE = Path(__file__).parents[1] / "hooks" / "sites_package"
FILES_LOG = """#separator \\x09
#set_separator	,
#empty_field	(empty)
#unset_field	-
#path	files
#open	2019-06-08-02-24-11
#fields	ts	fuid	tx_hosts	conn_uids	source
#types	time	string	set[addr]	set[string]	string
1056991897.649921	F1	10.0.0.2	C1	HTTP
"""
CONN_LOG = FILES_LOG.replace("files", "conn").partition("#fields")[0] + (
    "#fields	ts	uid	id.orig_h	id.orig_p\n#types	time	string	addr	port\n"
    "1.0	C0	10.0.0.9	9\n1056991897.5	C1	10.0.0.1	1067\n"
)
HTTP_LOG = '{"ts":1056991897.5,"id.orig_h":"10.0.0.1","id.orig_p":1067,"host":"x.example","user_agent":"Mozilla"}\n'


class Site:
    """The file of an appliance, and the appliances that run with it, one after the other."""

    def __init__(self, folder: Path, package: Path, more: str = "") -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.file = folder / "site.toml"
        self.file.write_text(
            f'[appliance]\nstate_dir = "{folder}"\n[api]\nlisten = ["unix:{folder}/api.sock"]\n[[hook]]\nname = "s"\n'
            f'on = ["folder:logs"]\nsites = "{package}"\nlogs_path = "{self.logs}"\n{more}'
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Appliance]:
        appliance = Appliance(prepare(load(self.file, environ={})), self.file, {})
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(appliance.run)
                await appliance.ready.wait()
                yield appliance
                appliance.stop()

    async def put(self, appliance: Appliance, name: str) -> None:
        """A folder of logs is finished."""
        path = self.logs / name
        path.mkdir(exist_ok=True)
        item = FolderReady(watch="logs", source="watch.logs", path=str(path), relative=name, mtime_ns=1)
        await appliance.dispatcher.dispatch(item, Account("watch.logs"), patience_s=1)

    @property
    def told(self) -> list[str]:
        out = self.logs / "out"
        return out.read_text().splitlines() if out.exists() else []


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - other processes tell nobody
        await trio.sleep(0.01)


def settled(appliance: Appliance, hook: str) -> Callable[[], bool]:
    return lambda: not appliance.ledger.account(f"hook.s.{hook}").queued


async def test_package_runs_unchanged(tmp_path: Path) -> None:
    """Three hooks over the logs of two captures, and the exit hook at the end."""
    site = Site(tmp_path, PACKAGE)
    async with site.running() as appliance:
        assert [line.service.name for line in appliance.status().services][:4] == [
            "sites.s", "hook.s.generate", "hook.s.generate_log", "hook.s.names",
        ]  # fmt: skip
        for name in ("one-1", "two-2"):
            folder = site.logs / name
            folder.mkdir()
            (folder / "files.log").write_text(FILES_LOG)
            (folder / "conn.log").write_text(CONN_LOG)
            (folder / "http.log").write_text(HTTP_LOG)
            await site.put(appliance, name)
        for hook in ("generate", "generate_log", "names"):
            await until(settled(appliance, hook))
    request = "10.0.0.1\t1056991897500\tx.example\tTW96aWxsYQ==\t1067"
    assert (site.logs / "http.log").read_text().splitlines() == [request, request, "#close after 2"]
    assert (site.logs / "names.log").read_text().split() == ["one-1", "two-2"]
    found = [json.loads(line) for line in (site.logs / "info" / "files.log").read_text().splitlines()]
    assert found[0] == {
        "timestamp": 1056991897.649921,
        "log_name": "one-1",
        "fuid": "F1",
        "conns": [{"src_h": "10.0.0.1", "src_p": 1067}],
    }
    assert len(found) == 2


async def test_hook_that_fails_keeps_no_other_from_the_folder(tmp_path: Path, told: list[object]) -> None:
    """It is tried again, with a delay, and is a dead letter in the end; nothing else waits for it."""
    text = HEAD + "def bad(n):\n    say('try'); raise ValueError(n)\ndef good(n): say(n)\nHOOK = [bad, good]\n"
    site = Site(tmp_path, write_package(tmp_path, text), "attempts = 3\nbackoff = '10ms'\nbackoff_max = '10ms'\n")
    async with site.running() as appliance:
        await site.put(appliance, "a")
        await until(settled(appliance, "bad"))
        await until(settled(appliance, "good"))
        assert appliance.ledger.account("hook.s.bad").dropped == {"hook_error": 1}
        assert appliance.ledger.account("hook.s.good").delivered == 1
    assert sorted(site.told) == ["a", "try", "try", "try"]


async def test_hook_that_kills_its_process_is_tried_again(tmp_path: Path, told: list[object]) -> None:
    """Nothing hangs at the end, and the exit hooks run."""
    text = (
        HEAD
        + """
import os
def bad(n):
    say(n)
    if len(open(LOGS_PATH + "/out").readlines()) < 3: os._exit(9)
HOOK = [bad]
EXIT = [lambda: say("end")]
"""
    )
    site = Site(tmp_path, write_package(tmp_path, text), "backoff = '10ms'\n")
    async with site.running() as appliance:
        await site.put(appliance, "a")
        await until(settled(appliance, "bad"))
        assert appliance.ledger.account("hook.s.bad").delivered == 1
    assert site.told == ["a", "a", "a", "end"]


async def test_folders_that_wait_at_the_end_are_not_forgotten(tmp_path: Path, told: list[object]) -> None:
    """The next start goes on with them."""
    text = (
        HEAD
        + """
import os, time
def slow(n):
    say("begin " + n)
    while not os.path.exists(LOGS_PATH + "/go"): time.sleep(0.01)
    say("end " + n)
HOOK = [slow]
"""
    )
    site = Site(tmp_path, write_package(tmp_path, text))
    site.file.write_text(site.file.read_text().replace("[api]", 'drain_timeout = "100ms"\n[api]'))
    async with site.running() as appliance:
        for name in ("a", "b"):
            await site.put(appliance, name)
        await until(lambda: bool(site.told))
    assert site.told == ["begin a"]
    (site.logs / "go").touch()
    async with site.running() as appliance:
        await until(lambda: len(site.told) == 5)
        assert appliance.ledger.account("hook.s.slow").delivered == 2
    assert sorted(site.told[1:]) == ["begin a", "begin b", "end a", "end b"]


async def test_exit_hooks_have_their_time_after_a_drain_that_took_all_of_its(
    tmp_path: Path, told: list[object]
) -> None:
    """They run even if a hook hangs until the end, and there is no hook that they depend on."""
    files = {
        "__init__": "from .bad import bad\nfrom .good import end\nHOOK = [bad]\nEXIT = [end]\n",
        "bad": HEAD + "import time\ndef bad(n):\n    say(n); time.sleep(600)\n",
        "good": HEAD + "import time\ndef end():\n    time.sleep(0.5); say('end')\n",
    }
    site = Site(tmp_path, write_package(tmp_path, files))
    site.file.write_text(site.file.read_text().replace("[api]", 'drain_timeout = "100ms"\n[api]'))
    async with site.running() as appliance:
        await site.put(appliance, "a")
        await until(lambda: site.told == ["a"])
    assert site.told == ["a", "end"]


async def test_reload_replaces_what_changed_and_nothing_else(tmp_path: Path) -> None:
    """The old package has its exit hooks, and its state with them; one that did not change keeps both."""
    text = HEAD + "seen = []\ndef hook(n):\n    seen.append(n); say(n)\nHOOK = [hook]\nEXIT = [lambda: say(seen)]\n"
    site = Site(tmp_path, write_package(tmp_path, text))
    async with site.running() as appliance:
        await site.put(appliance, "a")
        await until(lambda: site.told == ["a"])
        for change, expected in (("[log]\nlevel = 'debug'\n", ["a"]), ("[[hook]]", ["a", "['a']"])):
            if change.startswith("[log]"):
                site.file.write_text(change + site.file.read_text())
            else:
                site.file.write_text(site.file.read_text() + "timeout = '9s'\n")
            appliance.reload()
            assert (await appliance.wait_reloaded()).ok
            assert site.told == expected
        await site.put(appliance, "b")
        await until(settled(appliance, "hook"))
        site.file.write_text(f"[appliance]\nstate_dir = '{tmp_path}'\n[api]\nlisten = ['unix:{tmp_path}/api.sock']\n")
        appliance.reload()
        assert (await appliance.wait_reloaded()).ok
        assert site.told == ["a", "['a']", "b", "['b']"]
    assert len(site.told) == 4


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_loop_runs_while_a_package_is_imported_at_a_reload(tmp_path: Path, *, is_stopped: bool) -> None:
    """Hooks go on meanwhile; and so does an end, which does not wait for the import."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    site = Site(tmp_path, write_package(tmp_path, HEAD + "def hook(n): say(n)\nHOOK = [hook]\n"))
    slow = write_package(tmp_path / "slow", f"open({str(gate)!r}).read()\nHOOK = []\n")
    async with site.running() as appliance:
        site.file.write_text(f"{site.file.read_text()}\n[[hook]]\nname = 't'\non = ['folder:logs']\nsites = '{slow}'\n")
        appliance.reload()
        writer = await trio.to_thread.run_sync(open, gate, "w", abandon_on_cancel=True)  # returns when it is read
        await site.put(appliance, "a")
        await until(settled(appliance, "hook"))
        assert site.told == ["a"]
        if is_stopped:
            appliance.stop()
            assert not (await appliance.wait_reloaded()).ok
        writer.close()
        if not is_stopped:
            assert (await appliance.wait_reloaded()).ok
            assert "sites.t" in {line.service.name for line in appliance.status().services}


def test_package_that_does_not_import_is_a_mistake_in_the_file(tmp_path: Path) -> None:
    """With the place of the key and that of the cause."""
    package = write_package(
        tmp_path, {"__init__": "from .deep import x\nHOOK = []\n", "deep": "\nimport nonexistent_x\n"}
    )
    site = Site(tmp_path, package)
    told = r"site.toml:8: hook\[0\].sites: cannot import .*No module named 'nonexistent_x' \(.*/sites/deep.py:2\)"
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=told)):
        prepare(load(site.file, environ={}))


def test_names_of_its_hooks_must_be_free(tmp_path: Path) -> None:
    """They are known by them in the journal."""
    site = Site(tmp_path, PACKAGE, "[[hook]]\nname = 's.names'\non = ['log:*']\ncommand = ['true']\n")
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match="would have the name 's.names'")):
        prepare(load(site.file, environ={}))
