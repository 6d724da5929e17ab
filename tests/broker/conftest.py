"""Certificates for the mutual mode of TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PASSPHRASE = "correct horse"


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of `make_certificates`, for nobody in particular."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def make_certificates(folder: Path, *, san: str = "") -> Path:
    """Fill a folder with two authorities, ``ca`` and ``other-ca``, and nodes of each: ``node``, ``locked`` (its key has
    a passphrase, in ``locked.pass``), and ``other``; ``expired`` is of the first one. With `san` all nodes are for
    these names.
    """
    names = folder / "names.cnf"
    names.write_text(f"subjectAltName={san}\n" if san else "")
    extensions = ("-extfile", str(names)) if san else ()
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    for ca in ("ca", "other-ca"):
        _openssl(folder, "req", "-x509", *curve, "-nodes", "-days", "30", "-subj", f"/CN={ca}",
                 "-keyout", f"{ca}.key", "-out", f"{ca}.pem")  # fmt: skip
    for node, ca in (("node", "ca"), ("locked", "ca"), ("expired", "ca"), ("other", "other-ca")):
        locked = ("-passout", f"pass:{PASSPHRASE}") if node == "locked" else ("-nodes",)
        _openssl(
            folder, "req", *curve, *locked, "-subj", f"/CN={node}", "-keyout", f"{node}.key", "-out", f"{node}.csr"
        )
        days = "-1" if node == "expired" else "30"
        _openssl(folder, "x509", "-req", "-in", f"{node}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
                 "-CAcreateserial", "-days", days, *extensions, "-out", f"{node}.pem")  # fmt: skip
    (folder / "locked.pass").write_text(PASSPHRASE + "\n")
    (folder / "wrong.pass").write_text("battery staple\n")
    (folder / "empty.pem").write_text("")
    return folder
