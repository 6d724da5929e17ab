"""From file names to log paths."""

from __future__ import annotations

import pytest

from appliance.logfile.naming import is_log_path, log_path_of


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conn.log", "conn"),
        ("conn.log.1", "conn"),
        ("conn.log.2.gz", "conn"),
        ("conn.log-20261121", "conn"),
        ("conn.log-20261121.gz", "conn"),
        ("conn.2026-11-21-02-00-00.log", "conn"),
        ("conn-2026-11-21T02.log", "conn"),
        ("conn-26-11-21_02.00.00.log", "conn"),
        ("conn.02:00:00-03:00:00.log.gz", "conn"),
        ("conn.02_00_00-03_00_00.log.gz", "conn"),
        ("conn__2026-11-21-02-00-00__2026-11-21-03-00-00__.log", "conn"),
        ("json_streaming_conn.log", "conn"),
        ("json_streaming_conn.1.log", "conn"),
        ("known_certs.log", "known_certs"),
        ("dce_rpc.log.zst", "dce_rpc"),
        ("capture_loss.log", "capture_loss"),
        ("x509", "x509"),
        ("smb files.log", "smb_files"),
        (".log", "unknown"),
        ("conn.json", "conn.json"),
    ],
)
def test_name_of_a_file_tells_the_log(name: str, path: str) -> None:
    """Whatever rotation and archiving put behind it."""
    assert log_path_of(name) == path
    assert is_log_path(path)
