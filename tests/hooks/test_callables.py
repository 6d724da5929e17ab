"""Finding a hook's callable: what is accepted, how it is called, and what is said about the rest."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.hooks.callables import Context, HookCallable, load_callable
from appliance.model import LogBatch
from appliance.runtime.imports import extend_path

MODULE = """
import functools

async def asynchronous(record): ...
def both(record, context): calls.append((record, context))
def alone(record): calls.append((record, None))
def optional(record, context=None): calls.append((record, context))
def starred(*args): calls.append(args)
def keyword(record, *, verbose=False): calls.append((record, None))

calls = []

class Hooks:
    def method(self, record): calls.append((record, None))
    @staticmethod
    def static(record, context): calls.append((record, context))
    @classmethod
    def of_class(cls, record): calls.append((record, None))
    async def later(self, record): ...

class Called:
    def __call__(self, record, context): calls.append((record, context))

class AsyncCalled:
    async def __call__(self, record): ...

hooks = Hooks()
called = Called()
async_called = AsyncCalled()
with_prefix = functools.partial(lambda prefix, record: calls.append((record, None)), "x")
with_context = functools.partial(both)
partial_async = functools.partial(asynchronous)
listed = calls.append

def needs_three(a, b, c): ...
def needs_keyword(record, *, context): ...
def none(): ...
def generator(record): yield record
async def async_generator(record): yield record
class Generating:
    def __call__(self, record): yield record
generating = Generating()
number = 7
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module that can be imported for the length of the test."""
    names = []

    def run(name: str, text: str) -> None:
        names.append(name)
        (tmp_path / f"{name}.py").write_text(text)

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    extend_path([str(tmp_path)])
    yield run
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def context() -> Context:
    item = LogBatch(path="conn", source="zmq.a", data=b"{}\n", count=1)
    return Context(item=item, attempt=1, deadline=0.0, log=None, config={}, publish_event=lambda *_: 0)


@pytest.mark.parametrize(
    ("attribute", "takes_context"),
    [
        ("both", True),
        ("alone", False),
        ("optional", True),
        ("starred", True),
        ("keyword", False),
        ("hooks.method", False),
        ("hooks.static", True),
        ("Hooks.static", True),
        ("hooks.of_class", False),
        ("Hooks.of_class", False),
        ("called", True),
        ("with_prefix", False),
        ("with_context", True),
    ],
)
def test_synchronous_callable_gets_what_it_has_room_for(
    write: Callable[[str, str], None], context: Context, attribute: str, takes_context: bool
) -> None:
    """The record alone, or the record and the context if two positional arguments fit."""
    write("hooks_sync", MODULE)
    target = load_callable(f"hooks_sync:{attribute}")
    assert (target.is_async, target.takes_context) == (False, takes_context)
    target.call({"a": 1}, context)
    assert sys.modules["hooks_sync"].calls == [({"a": 1}, context if takes_context else None)]


def test_function_without_a_signature_gets_the_record(write: Callable[[str, str], None], context: Context) -> None:
    """Functions written in C may not tell what they take; one argument is the rule."""
    write("hooks_c", "calls = {}\nupdate = calls.update\n")
    load_callable("hooks_c:update").call({"a": 1}, context)
    assert sys.modules["hooks_c"].calls == {"a": 1}


@pytest.mark.parametrize("attribute", ["asynchronous", "async_called", "partial_async", "hooks.later"])
def test_asynchronous_callable_is_recognised(write: Callable[[str, str], None], attribute: str) -> None:
    """Functions, methods, partials and objects with an async __call__."""
    write("hooks_async", MODULE)
    assert load_callable(f"hooks_async:{attribute}").is_async


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("needs_three", "'hooks_bad:needs_three' takes (a, b, c); a hook is called with the record"),
        ("needs_keyword", "takes (record, *, context); a hook"),
        ("none", "takes (); a hook"),
        ("generator", "is a generator; a hook returns nothing, use no 'yield'"),
        ("async_generator", "is a generator"),
        ("generating", "is a generator"),
        ("number", "'hooks_bad:number' is of type int; a hook is a function"),
        ("Called", "'hooks_bad:Called' is a class; a hook is a function, a method or an object with __call__"),
        ("hooks.nothing", "module 'hooks_bad' has no 'hooks.nothing'"),
        ("nothing", "module 'hooks_bad' has no 'nothing'"),
    ],
)
def test_what_cannot_be_a_hook_is_refused_by_name(write: Callable[[str, str], None], attribute: str, told: str) -> None:
    """The text says what is wrong with it."""
    write("hooks_bad", MODULE)
    with pytest.raises(ValueError, match=re.escape(told)):
        load_callable(f"hooks_bad:{attribute}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\nraise RuntimeError('no licence')", r"RuntimeError: no licence \(.*/broken\.py:2\)"),
        ("import no_such_module", r"ModuleNotFoundError: No module named 'no_such_module' \(.*/broken\.py:1\)"),
        ("def f(:\n", r"SyntaxError: invalid syntax \(broken\.py, line 1\)$"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3 \(.*/broken\.py:2\)"),
        ("from json import nothing", r"ImportError: cannot import name 'nothing'"),
    ],
)
def test_module_that_fails_to_import_is_told_with_its_line(
    write: Callable[[str, str], None], text: str, told: str
) -> None:
    """What was raised and where, and the process goes on."""
    write("broken", text)
    with pytest.raises(ValueError, match=f"^cannot import 'broken': {told}"):
        load_callable("broken:f")


def test_missing_module_is_told_with_where_it_was_looked_for() -> None:
    """Also when only the package's last part is missing."""
    with pytest.raises(ValueError, match=r"^there is no module 'no_such_hooks' in python_path"):
        load_callable("no_such_hooks.deep:f")
    with pytest.raises(ValueError, match=r"^there is no module 'json.nothing' in python_path"):
        load_callable("json.nothing:f")


@pytest.mark.parametrize("body", ["return later()", "return (x for x in ())"])
def test_synchronous_callable_that_only_begins_its_work_fails(
    write: Callable[[str, str], None], context: Context, body: str
) -> None:
    """A coroutine or generator that nobody drives is an error, not a success."""
    write("hooks_lazy", f"async def later(): ...\ndef hook(record):\n    {body}\n")
    with pytest.raises(TypeError, match="has done nothing; use 'async def'"):
        load_callable("hooks_lazy:hook").call({}, context)


def test_folders_come_first_in_their_order_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call, as at a reload, changes nothing."""
    monkeypatch.setattr(sys, "path", ["/old"])
    extend_path(["/a", "/b"])
    extend_path(["/a", "/b"])
    assert sys.path == ["/a", "/b", "/old"]


def test_remaining_time_is_never_negative(context: Context) -> None:
    """A deadline in the past leaves nothing."""
    assert context.remaining_s == 0.0


def test_a_result_is_nobodys_business(context: Context) -> None:
    """Whatever a synchronous hook returns is handed back as it is."""
    function: Any = len
    assert HookCallable(function=function, is_async=False, takes_context=False).call({"a": 1}, context) == 1
