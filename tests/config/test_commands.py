"""The words of a command, and which of them go with which items."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Config, Hook, load, render
from appliance.config.commands import fill_words, mistakes_in_word, placeholders_of

Mistakes = Callable[[str], list[str]]
HOOK = "[[hook]]\nname = 'h'\non = ['segment:*']\n"


def test_values_take_the_place_of_placeholders() -> None:
    """One word stays one word, and doubled braces are braces."""
    words = ["prog", "-r", "{path}", "--as={name}.{{x}}", "{dir}/{name}"]
    values = {"path": "/a b/$(c);d", "name": "{path}", "dir": "/a b"}
    assert placeholders_of(words) == {"path", "name", "dir"}
    assert fill_words(words, values) == ["prog", "-r", "/a b/$(c);d", "--as={path}.{x}", "/a b/{path}"]


@pytest.mark.parametrize(
    ("word", "value", "told"),
    [("{name}", "-rf", "would be taken for an option"), ("x{name}", "a\0b", "contains a NUL character")],
)
def test_value_that_would_change_its_meaning_is_refused(word: str, value: str, told: str) -> None:
    """Names come from the network, and from whoever may put a file into a folder."""
    with pytest.raises(ValueError, match=told):
        fill_words([word], {"name": value})


def test_value_behind_text_may_begin_with_a_hyphen() -> None:
    """There it cannot be an option."""
    assert fill_words(["./{name}"], {"name": "-rf"}) == ["./-rf"]


@given(st.text())
def test_every_word_is_refused_or_can_be_filled(word: str) -> None:
    """Nothing raises later that was not told before."""
    if not mistakes_in_word(word):
        (filled,) = fill_words([word], dict.fromkeys(placeholders_of([word]), "v"))
        assert "\0" not in filled


@given(st.text(st.characters(exclude_characters="\0")))
def test_doubled_braces_make_any_text_literal(text: str) -> None:
    """So there is nothing that cannot be written."""
    word = text.replace("{", "{{").replace("}", "}}")
    assert mistakes_in_word(word) == []
    assert fill_words([word], {}) == [text]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("command = []", "site.toml:4: hook[0].command: must not be empty"),
        ("command = 'zeek -r x'", 'site.toml:4: hook[0].command: expected an array, got a string, write ["zeek -r x"]'),
        ("command = ['']", "site.toml:4: hook[0].command[0]: must not be empty"),
        ("command = ['{path}']", "site.toml:4: hook[0].command[0]: an item must not choose the program"),
        ("command = ['x','{pth}']", "site.toml:4: hook[0].command[1]: unknown placeholder {pth}, did you mean {path}?"),
        ("command = ['x', 'a{b']", "site.toml:4: hook[0].command[1]: a single {, write {{ for a literal {"),
        ("command = ['x']\nrun = 'a:b'", "site.toml:5: hook[0].command: stands beside run, a hook has one of them"),
        ("command=['x']\nisolation='task'", 'site.toml:5: hook[0].isolation: is for hooks with "run", leave it out'),
        ("command = ['x']\noptions = {a = 1}", 'site.toml:5: hook[0].options: is for hooks with "run", leave it out'),
        ("timeout = '1s'", "site.toml:1: hook[0].run: missing, or write command or sites"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(mistakes: Mistakes, text: str, told: str) -> None:
    """Once each."""
    if "stands beside" in told:
        told = told.replace("site.toml:5", "site.toml:4")
    assert mistakes(HOOK + text) == [told]


def test_placeholders_are_those_of_the_items(mistakes: Mistakes) -> None:
    """A log record is in no folder."""
    text = "[[hook]]\nname = 'h'\non = ['log:*', 'segment:*']\ncommand = ['x', '{name}', '{dir}']\n"
    assert mistakes(text) == ['site.toml:4: hook[0].command[2]: there is no {dir} for "log:"']


def test_placeholders_are_of_one_record(mistakes: Mistakes) -> None:
    """A batch has several; without placeholders it is fine."""
    assert mistakes(HOOK + "batch = 2\ncommand = ['x', '{path}', '{name}']") == [
        "site.toml:4: hook[0].batch: records differ in {name} {path}, leave it out, or read them from the input"
    ]
    assert mistakes(HOOK + "batch = 2\ncommand = ['x']") == []


def test_mistyped_key_is_one_mistake(mistakes: Mistakes) -> None:
    """What it stands for is not missing as well."""
    assert mistakes(HOOK + "comand = ['x']") == [
        'site.toml:4: hook[0].comand: unknown key, did you mean "command"?',
    ]


def test_command_can_be_printed_and_read_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without the keys that a command has no use for."""
    hook = Hook(name="h", on=("segment:*",), command=("x", "{path}", "{{}}", "$"))
    text = render(Config(hook=(hook,)))
    assert "isolation" not in text
    file = tmp_path_factory.mktemp("config") / "site.toml"
    file.write_text(text)
    assert load(file, environ={}).config.hook == (hook,)
