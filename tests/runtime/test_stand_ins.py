"""Libraries without what nothing of ours needs of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from appliance.runtime.stand_ins import ABSENT, StandIn, standing_in

NAMES = ("heavy_package", "heavy_package.inner", "its_user")


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package ``heavy_package`` with a module in it, and a module ``its_user`` that wants a name of it."""
    (tmp_path / "heavy_package").mkdir()
    (tmp_path / "heavy_package/__init__.py").write_text("fact = 'real'\nother = 'real'\n")
    (tmp_path / "heavy_package/inner.py").write_text("from . import other\n")
    (tmp_path / "its_user.py").write_text("import heavy_package\nfrom heavy_package import fact\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def stand_in() -> StandIn:
    return StandIn("heavy_package", is_package=True, fact="light")


def test_the_module_is_not_imported(heavy: None) -> None:
    """Who imports it meanwhile has what stands in for it, and afterwards it can be imported by everybody."""
    with standing_in({"heavy_package": stand_in()}):
        user = import_module("its_user")
    assert user.fact == "light"
    assert "heavy_package" not in sys.modules
    assert import_module("heavy_package").fact == "real"


def test_what_it_does_not_have_comes_from_the_module(heavy: None) -> None:
    """Whether it still stands there or not."""
    with standing_in({"heavy_package": stand_in()}):
        user = import_module("its_user")
        assert user.heavy_package.other == "real"
        assert sys.modules["heavy_package"].fact == "real"
    assert user.heavy_package.other == "real"
    assert sys.modules["heavy_package"].fact == "real"
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = user.heavy_package.nothing_such


def test_modules_in_it_can_be_imported_meanwhile(heavy: None) -> None:
    """By another thread, which knows nothing of it."""
    with standing_in({"heavy_package": stand_in()}):
        assert import_module("heavy_package.inner").other == "real"


def test_who_has_been_imported_before_stays(heavy: None) -> None:
    """Nothing is put in his place."""
    before = import_module("heavy_package")
    with standing_in({"heavy_package": stand_in()}):
        assert sys.modules["heavy_package"] is before
    assert sys.modules["heavy_package"] is before


def test_a_module_that_is_not_to_be_found(heavy: None) -> None:
    """Only meanwhile, also when the import fails."""
    with pytest.raises(ModuleNotFoundError), standing_in({"heavy_package": ABSENT}):
        import_module("its_user")
    assert import_module("its_user").fact == "real"


def test_the_api_does_without_what_it_does_not_use() -> None:
    """It can serve, and neither HTTP/2 nor another event loop was imported for it."""
    code = """\
import sys
from appliance.cli.run import _import_log_library
_import_log_library()
from appliance.api.server import ApiServer
from appliance.config import Api
ApiServer(Api(), ())._make_works()
print(*sorted({"asyncio", "h2", "hypercorn.trio.run", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
