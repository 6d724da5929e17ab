"""Build the bundle and run it: wheel → virtual environment of its own → PyInstaller → does it work?

    make_binary.py             dist/broappliance/, a folder, which the packages hold
    make_binary.py --onefile   dist/broappliance-VERSION-linux-MACHINE, one file

All else is written below build/binary/. Two builds of the same sources with the same Python and the versions of
packaging/constraints.txt are the same byte for byte.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "binary"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
BUILT = shutil.ignore_patterns("*.so", "*.o", "__pycache__", "build")
EARLIEST = 315_532_800
"""1980: earlier times do not fit into ZIP files."""
MAKE_TABLES = """\
from rule_engine import Rule
from rule_engine._vendor.ply import yacc
yacc.yacc(module=Rule.parser, write_tables=True, debug=False)
import rule_engine.parser.parsetab
"""
"""Compute the tables of the parser of `where` now, 0.3 s and 7 MB, which is otherwise done at every start."""
SITE = """\
[appliance]
state_dir = "{folder}/state"
[api]
listen = ["unix:{folder}/api.sock"]
[[zmq]]
name = "zeek"
bind = ["tcp://127.0.0.1:0"]
[[capture]]
name = "telemetry"
conn_type = "udp"
address = ["127.0.0.1", 0]
[[capture.handler]]
name = "raw"
[[sink]]
name = "archive"
on = ["log:*"]
[[hook]]
name = "executables"
on = ["log:files"]
where = 'mime_type == "application/x-dosexec"'
run = "appliance.demo.hooks:on_executable"
isolation = "process"
"""
"""What is shown in the end: the demonstration, with any free ports."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the bundle, and run it.")
    parser.add_argument("--onefile", action="store_true", help="one file instead of a folder")
    is_one_file = parser.parse_args().onefile
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONSAFEPATH": "1",  # what is bundled is the wheel, not the sources that we stand in
        "SOURCE_DATE_EPOCH": str(find_date()),
        # Where it was compiled would be in what identifies the C module.
        "CFLAGS": f"{os.environ.get('CFLAGS', '')} -g0 -ffile-prefix-map={WORK}=.",
        "PYINSTALLER_CONFIG_DIR": str(WORK / "cache"),
        # Columns of instructions, which tracebacks mark in the source: in the bundle there is none.
        "PYTHONNODEBUGRANGES": "1",
    }
    if not is_one_file:  # packages are compressed as a whole; unpacking each module takes a tenth of the start
        environment["PYINSTALLER_ZLIB_COMPRESSION_LEVEL"] = "0"
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    python = make_venv(environment)
    run(
        *(python, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN"),
        *("--distpath", ROOT / "dist", "--workpath", WORK / "work", ROOT / "packaging" / "broappliance.spec"),
        *(["--", "--onefile"] if is_one_file else []),
        environment=environment,
    )
    [program] = [ROOT / "dist" / "broappliance" / "broappliance"] if not is_one_file else find_one_file()
    set_times(program if is_one_file else program.parent, int(environment["SOURCE_DATE_EPOCH"]))
    try_out(program)
    print(f"{program.relative_to(ROOT)} works")


def find_date() -> int:
    """Seconds since 1970 that everything in the bundle is dated with: of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        asked = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
        given = asked.stdout.strip() or str(EARLIEST)
    return max(int(given), EARLIEST)


def make_venv(environment: dict[str, str]) -> Path:
    """A virtual environment with the wheel of these sources and PyInstaller, and nothing else."""
    for name in ("source", "venv", "wheel", "work"):
        shutil.rmtree(WORK / name, ignore_errors=True)
    copy_sources(WORK / "source")
    run(sys.executable, "-m", "venv", WORK / "venv", environment=environment)
    python = WORK / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", WORK / "wheel", WORK / "source", environment=environment)
    [wheel] = (WORK / "wheel").glob("broappliance-*.whl")
    run(*pip, "install", "--constraint", CONSTRAINTS, wheel, "pyinstaller", environment=environment)
    warn_of_unpinned(python)
    run(python, "-c", MAKE_TABLES, environment=environment)
    return python


def copy_sources(target: Path) -> None:
    """What the wheel is made of, and nothing that an earlier build has left."""
    target.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, target)
    for name in ("appliance", "native"):
        shutil.copytree(ROOT / name, target / name, ignore=BUILT)


def warn_of_unpinned(python: Path) -> None:
    listing = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    pinned = CONSTRAINTS.read_text().splitlines()
    for line in listing.splitlines():
        if line not in pinned and not line.startswith("broappliance"):
            print(f"warning: {line} is not in {CONSTRAINTS.relative_to(ROOT)}", file=sys.stderr)


def find_one_file() -> Iterator[Path]:
    return (path for path in (ROOT / "dist").glob("broappliance-*-linux-*") if path.is_file())


def set_times(path: Path, seconds: int) -> None:
    for each in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(each, (seconds, seconds), follow_symlinks=False)


def try_out(program: Path) -> None:
    """Run what was built, somewhere else and without what our environment would lend it."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site.toml")
        site.write_text(SITE.format(folder=folder))
        for arguments in (["--version"], ["--config", site, "--check"], ["demo", "--config", site, "--once"]):
            environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8"}
            done = subprocess.run([program, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{program} {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")


def run(*argv: str | Path, environment: dict[str, str]) -> None:
    done = subprocess.run(argv, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
