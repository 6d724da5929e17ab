"""What all commands have in common: examples that are right, and JSON for programs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import pytest

from appliance.cli.examples import EXAMPLES
from appliance.cli.extract_arguments import join_times
from appliance.cli.parser import make_parser


def commands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command, and every group of them, by what is typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield f"{before}{name}", each
                yield from commands(each, f"{before}{name} ")


COMMANDS = dict(commands(make_parser()))


def test_every_command_has_examples_and_there_are_no_others() -> None:
    """A new command teaches how it is used, too."""
    assert EXAMPLES.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_can_be_typed(name: str) -> None:
    """The command line takes each of them, and the help shows it."""
    shown = COMMANDS[name].format_help()
    for words, what in EXAMPLES[name]:
        assert f"  broappliance {words}" in shown
        assert what in shown
        typed = shlex.split(words.partition(" | ")[0].partition(" > ")[0].partition(" && ")[0])
        parsed = make_parser().parse_args(join_times(typed))
        assert parsed.command == name.split()[0]
        assert words.startswith(name)


@pytest.mark.parametrize("name", [name for name, each in COMMANDS.items() if "--socket" in each._option_string_actions])
def test_whoever_asks_an_appliance_can_have_json(name: str) -> None:
    """And can ask one elsewhere, of whom it is said alike."""
    assert {"--json", "--url", "--token-file", "--ca"} <= COMMANDS[name]._option_string_actions.keys()


@pytest.mark.parametrize(
    ("typed", "meant"), [(["relaod"], "reload"), (["hooks", "retyr"], "retry"), (["store", "put-uniqe"], "put-unique")]
)
def test_what_was_mistyped_is_told_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], typed: list[str], meant: str
) -> None:
    """Rather than with everything that there is; what resembles nothing is."""
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args(typed)
    assert caught.value.code == 2
    assert f"there is no '{typed[-1]}', did you mean '{meant}'?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        make_parser().parse_args(["xyzzy"])
    assert "choose from" in capsys.readouterr().err
