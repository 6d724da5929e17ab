"""Lay out what goes into the packages, below build/packages/, and fill in packaging/nfpm.yaml. Two runs over the same
bundle, with the same SOURCE_DATE_EPOCH, give the same files with the same times.

PYTHON is that of the environment in which the bundle was made: it knows what is in it.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import string
import subprocess
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from bill import objects_of

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
FIRST_LINES = """\
#:schema broappliance.schema.json
# Every table and key of this version, with its default."""
PYTHON_PATH = "python_path = []                       # where hooks are imported from; relative to this file"
OPERATORS = '# operate_group = ""                   # its members may operate, too'
CONFIGURATION = {
    FIRST_LINES: """\
#:schema /usr/share/broappliance/broappliance.schema.json
# Edit, then: systemctl enable --now broappliance; and after further edits: systemctl reload broappliance
# Files named here are in /usr/share/doc/broappliance (examples, docs), Zeek's in /usr/share/broappliance/zeek.
# Every table and key of this version, with its default.""",
    PYTHON_PATH: 'python_path = ["python"]               # where hooks are imported from: /etc/broappliance/python',
    OPERATORS: 'operate_group = "broappliance"         # its members may read and operate: docs/security.md',
}
"""What is different in /etc/broappliance: text of conf/broappliance.toml → what stands there instead."""


def configuration(text: str) -> str:
    """The annotated configuration for where the packages put things.

    Raises:
        ValueError: it is not written as expected.
    """
    for here, there in CONFIGURATION.items():
        if text.count(here) != 1:
            raise ValueError(f"conf/broappliance.toml has this {text.count(here)} times: {here!r}")
        text = text.replace(here, there)
    return text


def changelog(text: str, version: str, maintainer: str, stamp: datetime) -> str:
    """The part of CHANGELOG.md about this version, or about what is to come, as deb-changelog(5) wants it."""
    parts = dict(re.findall(r"(?ms)^## \[?([\w.]+)\]?[^\n]*\n(.*?)(?=^## |\Z)", text))
    body = parts.get(version, parts.get("Unreleased", ""))
    notes = [re.sub(r"\s+", " ", note).strip() for note in re.findall(r"(?ms)^- (.*?)(?=^- |^#|\Z)", body)]
    changes = [
        textwrap.fill(note, 78, initial_indent="  * ", subsequent_indent="    ", break_on_hyphens=False)
        for note in notes or ["See changelog.gz."]
    ]
    head, foot = f"broappliance ({version}-1) unstable; urgency=medium", f" -- {maintainer}  {format_datetime(stamp)}"
    return "\n".join([head, "", *changes, "", foot]) + "\n"


def compress(text: bytes, path: Path) -> None:
    """As gzip -9n does: without a name and a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))


def settle(folder: Path, epoch: int) -> None:
    """Give everything the time of the source, and the modes of a package."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink():
            pass
        elif path.is_dir():
            path.chmod(0o755)
        else:
            is_program = path.parent.name == "program" and path.name == "broappliance"
            path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    os.utime(folder, (epoch, epoch))


def forget_search_paths(program: Path, patchelf: Path) -> None:
    """Let no library look for others in folders of the machine that built it; the boot loader says where they are."""
    for path in objects_of(program):
        given = run(patchelf, "--print-rpath", path).strip()
        kept = ":".join(part for part in given.split(":") if part.startswith("$ORIGIN"))
        if kept != given:
            path.chmod(0o644)
            run(patchelf, *(("--set-rpath", kept) if kept else ("--remove-rpath",)), path)


def documents(doc: Path) -> Iterator[str]:
    """Lines of nfpm.yaml: RPM wants to know of each file that it is documentation, deb has no such thing."""
    for path in sorted(doc.rglob("*")):
        if path.is_file():
            place = path.relative_to(doc).as_posix()
            line = f"src: {os.path.relpath(path, ROOT)}, dst: /usr/share/doc/broappliance/{place}"
            yield f"  - {{{line}, packager: deb}}"
            if place != "changelog.Debian.gz":
                yield f"  - {{{line}, packager: rpm, type: {'license' if place == 'copyright' else 'doc'}}}"


def completion() -> Iterator[str]:
    """Lines of nfpm.yaml: where each shell of each distribution looks."""
    places = {
        "broappliance.bash": (("/usr/share/bash-completion/completions/broappliance", ""),),
        "_broappliance": (
            ("/usr/share/zsh/vendor-completions/_broappliance", ", packager: deb"),
            ("/usr/share/zsh/site-functions/_broappliance", ", packager: rpm"),
        ),
    }
    for path in sorted((ROOT / "packaging/completion").glob("*")):
        for place, only in places[path.name]:
            yield f"  - {{src: packaging/completion/{path.name}, dst: {place}{only}}}"


def find_maintainer() -> str:
    """Who has made the last commit; whoever builds for others names himself in MAINTAINER."""
    asked = subprocess.run(["git", "log", "-1", "--format=%an <%ae>"], cwd=ROOT, capture_output=True, text=True)
    return os.environ.get("MAINTAINER") or asked.stdout.strip() or "the broappliance authors <broappliance@localhost>"


def run(*command: str | Path) -> str:
    """What a program prints."""
    return subprocess.run([os.fspath(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def stage(
    *, version: str, maintainer: str, bundle: Path, python: Path, patchelf: Path, folder: Path, epoch: int
) -> None:
    """Fill `folder`, which begins empty."""
    shutil.rmtree(folder, ignore_errors=True)
    share, doc = folder / "share", folder / "doc"
    conf = ROOT / "conf"
    shutil.copytree(bundle, folder / "program", symlinks=True)
    forget_search_paths(folder / "program", patchelf)
    shutil.copytree(conf / "zeek", share / "zeek")
    shutil.copy(conf / "broappliance.schema.json", share)
    (folder / "broappliance.toml").write_text(configuration((conf / "broappliance.toml").read_text()))

    shutil.copytree(conf, doc / "examples", ignore=shutil.ignore_patterns("zeek", "*.json", "__pycache__"))
    shutil.copytree(ROOT / "docs", doc / "docs")
    shutil.copy(ROOT / "README.md", doc)
    shutil.copy(ROOT / "packaging/package/notify-reload.conf", doc)
    (doc / "broappliance.cdx.json").write_text(run(python, ROOT / "packaging/bill.py", "sbom", bundle))
    licences = run(python, ROOT / "packaging/bill.py", "licences", bundle)
    (doc / "copyright").write_text((ROOT / "packaging/package/copyright").read_text().rstrip() + "\n" + licences)
    history = (ROOT / "CHANGELOG.md").read_text()
    compress(history.encode(), doc / "changelog.gz")
    compress((ROOT / "packaging/broappliance.8").read_bytes(), folder / "broappliance.8.gz")
    stamp = datetime.fromtimestamp(epoch, tz=UTC)
    compress(changelog(history, version, maintainer, stamp).encode(), doc / "changelog.Debian.gz")
    settle(folder, epoch)

    names = {
        "ARCH": ARCHITECTURES[os.uname().machine],
        "BITS": "(64bit)",
        "COMPLETION": "\n".join(completion()),
        "DOCUMENTS": "\n".join(documents(doc)),
        "GLIBC": run(python, ROOT / "packaging/bill.py", "glibc", bundle).strip(),
        "MAINTAINER": maintainer,
        "STAGE": os.path.relpath(folder, ROOT),
        "VERSION": version,
    }
    text = string.Template((ROOT / "packaging/nfpm.yaml").read_text()).substitute(names)
    (folder / "nfpm.yaml").write_text(text)


def main() -> None:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=re.findall(r'"(.*)"', (ROOT / "appliance/__init__.py").read_text())[-1])
    parser.add_argument("--maintainer", default=find_maintainer())
    parser.add_argument("--patchelf", type=Path, default=ROOT / "build/package-tools/bin/patchelf")
    parser.add_argument("--bundle", type=Path, default=ROOT / "dist/broappliance")
    parser.add_argument("--python", type=Path, default=ROOT / "build/binary/bin/python")
    parser.add_argument("--stage", type=Path, default=ROOT / "build/packages")
    arguments = parser.parse_args()
    stage(
        version=arguments.version,
        maintainer=arguments.maintainer,
        patchelf=arguments.patchelf,
        bundle=arguments.bundle,
        python=arguments.python,
        folder=arguments.stage,
        epoch=int(os.environ["SOURCE_DATE_EPOCH"]),
    )


if __name__ == "__main__":
    main()
