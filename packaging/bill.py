"""What is in the bundled program besides our own code: from the metadata of the installed distributions, and from that
of Debian for the shared libraries that the machine lent. Run by the Python that the bundle was made with.

    bill.py licences TREE     every component with its licence, as the text of a copyright file
    bill.py sbom TREE         the same as CycloneDX 1.6, JSON
    bill.py glibc TREE        the newest version of glibc that a file of the bundle asks for
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PROGRAM = "broappliance"
LICENCE_FILES = re.compile(r"(?i)(^|[/.-])(licen[cs]e|copying|notice|copyright)[^/]*$")
NAMESPACE = uuid.UUID("6f8d3f0e-2a53-5d0e-9a0e-9d6f5f1f6d57")


@dataclasses.dataclass(frozen=True)
class Component:
    """Something with an author of its own. `files` are relative to the bundle; `texts` are what its licence says."""

    name: str
    version: str
    purl: str
    licence: str
    homepage: str
    files: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def objects_of(tree: Path) -> list[Path]:
    """Every program and shared library, in a stable order."""
    files = (path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if path.read_bytes()[:4] == b"\x7fELF")


# ── distributions ──


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def bundled_distributions() -> Iterator[metadata.Distribution]:
    """What the program requires, directly or not; and PyInstaller, whose boot loader starts it."""
    wanted, seen = [PROGRAM, "pyinstaller"], set()
    while wanted:
        name = _normal(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        if name != PROGRAM:
            yield found
        if name != "pyinstaller":
            requirements = [r for r in found.requires or () if not re.search(r";.*\bextra\b", r)]
            wanted += [match[0] for r in requirements if (match := re.match(r"[\w.-]+", r))]


def _licence_of(found: metadata.Distribution) -> str:
    expression = found.metadata.get("License-Expression")
    if expression:
        return expression
    classifiers = [
        c.rpartition(" :: ")[2] for c in found.metadata.get_all("Classifier") or () if c.startswith("License")
    ]
    words = (found.metadata.get("License") or "").strip()
    return words if words and "\n" not in words else ", ".join(classifiers) or "see its text"


def _homepage_of(found: metadata.Distribution) -> str:
    urls = dict(line.split(", ", 1) for line in found.metadata.get_all("Project-URL") or () if ", " in line)
    by_name = {name.lower(): url for name, url in urls.items()}
    names = ("homepage", "source", "source code", "repository", "code")
    return found.metadata.get("Home-page") or next((by_name[n] for n in names if n in by_name), "")


def _component_of(found: metadata.Distribution, objects: dict[str, str]) -> Component:
    name, files = found.metadata["Name"], found.files or []
    texts = {
        str(path): Path(str(path.locate())).read_text(errors="replace")
        for path in files
        if ".dist-info/" in str(path) and LICENCE_FILES.search(str(path))
    }
    ours = sorted({objects[Path(path).name] for path in files if Path(path).name in objects})
    return Component(
        name=name,
        version=found.version,
        purl=f"pkg:pypi/{_normal(name)}@{found.version}",
        licence=_licence_of(found),
        homepage=_homepage_of(found),
        files=tuple(ours),
        texts=tuple(texts[key] for key in sorted(texts)),
    )


# ── shared libraries ──


def _python(objects: dict[str, str]) -> Component:
    version = ".".join(map(str, sys.version_info[:3]))
    library = Path(os.__file__).parent
    text = next((p for p in (library / "LICENSE.txt", Path("/usr/share/doc/python3/copyright")) if p.exists()), None)
    mine = [path for path in objects.values() if "/lib-dynload/" in path or Path(path).name.startswith("libpython")]
    return Component(
        name="CPython",
        version=version,
        purl=f"pkg:generic/cpython@{version}",
        licence="PSF-2.0",
        homepage="https://www.python.org/",
        files=tuple(sorted(mine)),
        texts=(text.read_text(errors="replace"),) if text else (),
    )


@functools.cache
def _search(pattern: str) -> str:
    done = subprocess.run(["dpkg-query", "--search", pattern], capture_output=True, text=True, check=False)
    return done.stdout


def _debian_package(library: str) -> str | None:
    for line in _search(f"*/{library}").splitlines():
        owner, _, path = line.partition(": ")
        if Path(path).name == library and "/lib" in path:
            return owner.partition(",")[0]
    return None


def _debian(objects: list[str]) -> Iterator[Component]:
    by_package: dict[str, list[str]] = {}
    for path in objects:
        package = _debian_package(Path(path).name)
        if package is None:
            raise SystemExit(f"{path}: nobody knows where it comes from, so nobody knows its licence")
        by_package.setdefault(package, []).append(path)
    for package in sorted(by_package):
        query = ["dpkg-query", "--show", "--showformat=${Version}\t${source:Package}\t${Homepage}", package]
        shown = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        version, source, homepage = shown.split("\t")
        name = package.partition(":")[0]
        text = Path(f"/usr/share/doc/{name}/copyright").read_text(errors="replace")
        yield Component(
            name=source,
            version=version,
            purl=f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?distro=debian",
            licence="see its text",
            homepage=homepage,
            files=tuple(by_package[package]),
            texts=(text,),
        )


def components_of(tree: Path) -> list[Component]:
    """Everything in the bundle that is not ours.

    Raises:
        SystemExit: there is a library of unknown origin.
    """
    objects = [path.relative_to(tree).as_posix() for path in objects_of(tree)]
    by_name = {Path(path).name: path for path in objects}
    found = [_component_of(one, by_name) for one in bundled_distributions()]
    found.append(_python(by_name))
    known = {path for component in found for path in component.files}
    rest = [p for p in objects if p not in known and p != PROGRAM and Path(p).name != "_native.abi3.so"]
    return sorted([*found, *_debian(rest)], key=lambda component: component.name.lower())


# ── what is printed ──


def licences(tree: Path) -> str:
    """The second part of the copyright file. A text that several components share is printed once."""
    parts, printed = [], dict[str, str]()
    for one in components_of(tree):
        lines = [f"{one.name} {one.version}", f"Licence: {one.licence}"]
        lines += [f"Source: {one.homepage}"] * bool(one.homepage)
        lines += [f"File: {path}" for path in one.files]
        for text in one.texts:
            same = printed.setdefault(text.strip(), one.name)
            lines += ["", text.strip() if same == one.name else f"(the same text as that of {same})"]
        parts.append("\n".join(line.rstrip() for part in lines for line in part.splitlines() or [""]))
    rule = "\n\n" + 78 * "-" + "\n"
    return rule + rule.join(parts) + "\n"


def sbom(tree: Path, version: str) -> str:
    """CycloneDX 1.6. The same bundle gives the same text.

    Source: ECMA-424, https://cyclonedx.org/docs/1.6/json/.
    """
    stamp = dt.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), tz=dt.UTC)
    root = f"pkg:generic/{PROGRAM}@{version}"
    components = [
        {
            "type": "library",
            "bom-ref": one.purl,
            "name": one.name,
            "version": one.version,
            "purl": one.purl,
            **({} if one.licence == "see its text" else {"licenses": [{"license": {"name": one.licence}}]}),
            **({"externalReferences": [{"type": "website", "url": one.homepage}]} if one.homepage else {}),
            **({"properties": [{"name": "file", "value": path} for path in one.files]} if one.files else {}),
        }
        for one in components_of(tree)
    ]
    names = "\n".join(str(one["bom-ref"]) for one in components)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, f'{root}{stamp}{names}')}",
        "version": 1,
        "metadata": {
            "timestamp": stamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": PROGRAM,
                "version": version,
                "licenses": [{"license": {"id": "BSD-3-Clause"}}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": [one["bom-ref"] for one in components]},
            *({"ref": one["bom-ref"], "dependsOn": []} for one in components),
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def glibc(tree: Path) -> str:
    """The newest ``GLIBC_`` symbol version that any file needs: older systems cannot run it."""
    floor = (2, 0)
    for path in objects_of(tree):
        shown = subprocess.run(["objdump", "-T", path], capture_output=True, text=True, check=True).stdout
        undefined = (line for line in shown.splitlines() if "*UND*" in line)
        found = (re.search(r"GLIBC_(\d+)\.(\d+)", line) for line in undefined)
        floor = max([floor, *((int(match[1]), int(match[2])) for match in found if match)])
    return ".".join(map(str, floor))


def main(arguments: list[str]) -> str:
    """What is asked for; see the text above."""
    match arguments:
        case ["licences", tree]:
            return licences(Path(tree))
        case ["sbom", tree]:
            return sbom(Path(tree), metadata.version(PROGRAM))
        case ["glibc", tree]:
            return glibc(Path(tree)) + "\n"
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
