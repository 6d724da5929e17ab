"""What types cannot tell about watches: keys that need one another, and folders that would feed themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.config.lines import Key
from appliance.config.paths import absolute
from appliance.config.report import Report, quote
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config
from appliance.config.watch_tables import Watch

__all__ = ["check_watches"]


def check_watches(config: Config, report: Report, *, state_dir: str) -> None:
    """Report what is wrong with each watch; `state_dir` is absolute."""
    for key, watch in select(config, "watch", EACH):
        if watch.directory is not HOLE and (not watch.directory.strip() or "\0" in watch.directory):
            report.add((*key, "directory"), f"{quote(watch.directory)} is not the path of a folder")
        for place, glob in select(watch, "match", EACH):
            if not glob or "/" in glob:
                report.add((*key, *place), f"{quote(glob)} is no glob over a name")
        _check_marker(key, watch, report)
        _check_archive(key, watch, report)
        for name, into in _targets(watch):
            _check_target((*key, name), watch, into, report, state_dir)


def _check_marker(key: Key, watch: Any, report: Report) -> None:
    if HOLE in (watch.marker, watch.what) or not watch.marker:
        return
    if watch.what == "files":
        report.add((*key, "marker"), "is for folders", 'leave it out, or write what = "folders"')
    elif "/" in watch.marker or "\0" in watch.marker:
        report.add((*key, "marker"), f"{quote(watch.marker)} is not the name of a file")


def _check_archive(key: Key, watch: Any, report: Report) -> None:
    if HOLE in (watch.archive, watch.on_success):
        return
    if watch.on_success == "archive" and not watch.archive:
        report.add((*key, "on_success"), "needs a folder", "write archive = the folder")
    elif watch.archive and watch.on_success != "archive":
        report.add((*key, "archive"), "is of no effect", 'leave it out, or write on_success = "archive"')


def _targets(watch: Any) -> Iterator[tuple[str, str]]:
    yield from ((name, into) for name in ("archive", "failed") if (into := getattr(watch, name)) not in (HOLE, ""))


def _check_target(key: Key, watch: Watch, into: str, report: Report, state_dir: str) -> None:
    """What is moved away must not be found again."""
    if HOLE in (watch.directory, watch.recursive):
        return
    if "\0" in into:
        report.add(key, f"{quote(into)} is not the path of a folder")
        return
    root, target = Path(watch.directory), Path(absolute(into, state_dir))
    if root.is_absolute() and (target == root or (watch.recursive and target.is_relative_to(root))):
        report.add(key, f"is in the folder that is watched, {quote(str(root))}", "choose one outside of it")
