"""Children: clean, limited, and gone when they should be. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from appliance.native.child import spawn
from appliance.runtime.children import Child, Limits, child_environment, describe_exit, open_child

LOOK = """
import json, os, resource, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "caps": [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "nnp": int(status["NoNewPrivs"]), "ignored": int(status["SigIgn"], 16), "blocked": int(status["SigBlk"], 16),
    "fds": sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(), "cwd": os.getcwd(),
    "data": resource.getrlimit(resource.RLIMIT_DATA), "cpu": resource.getrlimit(resource.RLIMIT_CPU),
    "env": sorted(os.environ),
}))
"""


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


async def output_of(argv: list[str], null: int, **how: object) -> tuple[int, bytes]:
    """How a program ended, and what it printed."""
    there, here = os.pipe()
    try:
        with trio.fail_after(20):
            async with open_child(argv, descriptors=[null, here, null], **how) as child:  # type: ignore[arg-type]
                os.close(here)
                here = -1
                async with trio.lowlevel.FdStream(os.dup(there)) as stream:
                    chunks = [chunk async for chunk in stream]
                return await child.wait(), b"".join(chunks)
    finally:
        os.close(there)
        if here >= 0:
            os.close(here)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that somebody else has to reap has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def wait_gone(pid: int) -> None:
    with trio.fail_after(10):
        while not gone(pid):  # noqa: ASYNC110 - a process that is not our child tells us nothing
            await trio.sleep(0.01)


async def test_child_has_nothing_of_ours(null: int, tmp_path: Path) -> None:
    """No capability, no way to one, no descriptor, no signal that we ignore; a session of its own; limits."""
    kept = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(kept, True)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    code, text = await output_of(
        [sys.executable, "-c", LOOK], null, directory=str(tmp_path), environment=environment,
        limits=Limits(memory=1 << 30, cpu_s=2.5),
    )  # fmt: skip
    os.close(kept)
    seen = json.loads(text)
    assert code == 0
    assert seen["caps"] == [0, 0, 0, 0]
    assert seen["nnp"] == 1
    python_ignores = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    libc_keeps = 0b11 << 31  # 32 and 33, which nobody can ask it for
    assert seen["ignored"] & ~(python_ignores | libc_keeps) == 0
    assert seen["blocked"] == 0
    assert seen["fds"] == [0, 1, 2]
    assert seen["leads"]
    assert seen["cwd"] == str(tmp_path)
    assert seen["data"] == [1 << 30, 1 << 30]
    assert seen["cpu"] == [3, 8]
    assert seen["env"] == ["LC_ALL", "PATH"]


async def test_descriptors_take_their_places_whatever_numbers_they_had(null: int) -> None:
    """Also when they are given in an order that overwrites each other."""
    ends = [os.pipe() for _ in range(3)]
    writers = [end for _, end in ends]
    program = "import os; [os.write(fd, b'%d' % fd) for fd in (3, 4, 5)]"
    with trio.fail_after(20):
        argv = [sys.executable, "-c", program]
        async with open_child(argv, descriptors=[null, null, null, *reversed(writers)]) as child:
            assert await child.wait() == 0
    assert [os.read(end, 10) for end, _ in ends] == [b"5", b"4", b"3"]
    for pair in ends:
        for fd in pair:
            os.close(fd)


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("import os; os._exit(3)", 3, "exited with 3"),
        ("import os, signal; os.kill(0, signal.SIGSEGV)", -11, "killed by SIGSEGV"),
        ("import os, signal; os.kill(0, signal.SIGRTMIN + 2)", -36, "killed by signal 36"),
    ],
)
async def test_end_of_a_child_is_told(program: str, code: int, text: str, null: int) -> None:
    """Exit codes and signals, by name."""
    assert (await output_of([sys.executable, "-c", program], null))[0] == code
    assert describe_exit(code) == text


async def test_program_that_is_not_there_is_an_error(null: int, tmp_path: Path) -> None:
    """Nothing is left behind, neither a process nor a descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for program in ("no-such-program", str(tmp_path / "nothing")):
        with pytest.raises(FileNotFoundError, match=program.rpartition("/")[2]):
            await output_of([program], null)
    (tmp_path / "text").write_text("")
    with pytest.raises(PermissionError, match="cannot execute"):
        await output_of([str(tmp_path / "text")], null)
    with pytest.raises(FileNotFoundError, match="cannot work in"):
        await output_of(["true"], null, directory=str(tmp_path / "nowhere"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_cannot_be_handed_over_is_refused(null: int) -> None:
    """NUL characters, closed descriptors, too many of them."""
    for argv in (["a\0b"], ["a"] * 3):
        with pytest.raises((ValueError, OSError)):
            spawn("/bin/true", argv, environment={"A": "\0"} if len(argv) > 1 else {}, descriptors=[null])
    with pytest.raises(OSError, match="descriptors"):
        spawn("/bin/true", ["true"], environment={}, descriptors=[null, 9999])
    with pytest.raises(ValueError, match="too many"):
        spawn("/bin/true", ["true"], environment={}, descriptors=[null] * 17)


async def test_grandchildren_go_with_their_child(null: int) -> None:
    """When it is killed, and when it has ended by itself."""
    for ending in ("signal.pause()", "None"):
        program = (
            "import os, signal, sys\npid = os.fork()\nif pid == 0: signal.pause()\n"
            f"print(pid, flush=True); os.close(1); {ending}"
        )
        there, here = os.pipe()
        async with open_child([sys.executable, "-c", program], descriptors=[null, here, null]) as child:
            os.close(here)
            await trio.lowlevel.wait_readable(there)
            grandchild = int(os.read(there, 100))
            if ending == "None":
                assert await child.wait() == 0
        os.close(there)
        await wait_gone(grandchild)


async def test_cancelled_body_ends_the_child(null: int) -> None:
    """It is killed and reaped before the block is left."""
    with trio.move_on_after(0.05):
        async with open_child(["sleep", "60"], descriptors=[null] * 3) as child:
            await child.wait()
    assert child.code == -signal.SIGKILL
    assert gone(child.pid)
    child.kill()


async def test_many_wait_for_one_child(null: int) -> None:
    """All of them are told how it ended."""
    codes = []

    async def wait(child: Child) -> None:
        codes.append(await child.wait())

    async with open_child(["false"], descriptors=[null] * 3) as child, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait, child)
    assert codes == [1, 1, 1]


async def test_many_short_children_leave_nothing_behind(null: int) -> None:
    """No zombie, no descriptor."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        async with open_child(["true"], descriptors=[null] * 3) as child:
            assert await child.wait() == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_child_does_not_outlive_us() -> None:
    """The process that started it is killed; the child goes as well."""
    program = (
        "import os, trio\nfrom appliance.runtime.children import open_child\n"
        "async def main():\n"
        "    async with open_child(['sleep', '60'], descriptors=[0, 2, 2]) as child:\n"
        "        print(child.pid, flush=True)\n"
        "        await child.wait()\n"
        "trio.run(main)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    await wait_gone(child)


@pytest.mark.parametrize(
    ("program", "limits"),
    [
        ("import sys\ntry: bytearray(1 << 28)\nexcept MemoryError: sys.exit(9)", Limits(memory=64 << 20)),
        ("while True: pass", Limits(cpu_s=0.3)),
    ],
    ids=["memory", "cpu"],
)
async def test_limits_hold(program: str, limits: Limits, null: int) -> None:
    """Memory beyond the limit is refused, processor time beyond it ends the process."""
    code, _ = await output_of([sys.executable, "-c", program], null, limits=limits)
    assert describe_exit(code) in ("exited with 9", "killed by SIGXCPU")


def test_variables_that_are_not_for_children_are_taken_out() -> None:
    """The service manager's and the bundler's; what the bundler replaced is as it was."""
    ours = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1", "LISTEN_FDS": "3", "_PYI_ARCHIVE_FILE": "x", "_MEIPASS2": "/m"}
    libraries = {"LD_LIBRARY_PATH": "/tmp/_MEI1", "LD_LIBRARY_PATH_ORIG": "/opt/lib"}
    kept = {"PATH": "/bin", "HOME": "/root"}
    assert child_environment(ours | libraries | kept) == kept | {"LD_LIBRARY_PATH": "/opt/lib"}
    assert child_environment(ours | kept | {"LD_LIBRARY_PATH": "/tmp/_MEI1"}) == kept
    assert child_environment(kept | {"LD_LIBRARY_PATH": "/b/_internal", "_PYI_ARCHIVE_FILE": "/b/program"}) == kept
    assert child_environment(kept | {"LD_LIBRARY_PATH": "/opt/lib"}) == kept | {"LD_LIBRARY_PATH": "/opt/lib"}
