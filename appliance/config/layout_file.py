"""Files that describe a Zeek cluster, read by what their names say they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ConfigError

if TYPE_CHECKING:
    from appliance.zeek.layout import ParsedLayout
    from appliance.zeek.version import Version

__all__ = ["load_file", "read_layout"]


def load_file(path: Path) -> bytes:
    """A file, but no more of it than is looked at.

    Raises:
        ConfigError: it cannot be read.
        LayoutError: it is too large.
    """
    from appliance.zeek.layout import MAX_BYTES, check_size

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror}", file=str(path)) from exc
    check_size(data, str(path))
    return data


def read_layout(path: Path, version: Version, environ: Mapping[str, str]) -> ParsedLayout:
    """Read a layout script, a ``node.cfg``, a ``zeek.conf`` or a folder of ``HOST.zeek.conf``.

    Args:
        path: messages name it as it is given here.
        version: of Zeek; it decides about the ports of a ``node.cfg``.
        environ: for ``getenv`` in scripts.

    Raises:
        ConfigError: it cannot be read, or not as what its name says.
    """
    from appliance.zeek.layout_node_cfg import parse_node_cfg
    from appliance.zeek.layout_script import parse_layout_script
    from appliance.zeek.layout_zeek_conf import ConfFile, host_of, parse_zeek_conf

    name = str(path)
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if host_of(each.name))
        if not files:
            raise ConfigError("there is no HOST.zeek.conf in this folder", file=name)
        return parse_zeek_conf([ConfFile(str(each), load_file(each), host_of(each.name)) for each in files])
    if path.suffix in (".zeek", ".bro"):
        return parse_layout_script(load_file(path), name, environ=environ)
    if path.suffix == ".cfg":
        return parse_node_cfg(load_file(path), name, version=version)
    if path.suffix == ".conf":
        return parse_zeek_conf([ConfFile(name, load_file(path))])
    raise ConfigError("not a name that says what it is: .zeek, .bro, .cfg or .conf", file=name)
