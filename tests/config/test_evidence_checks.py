"""What only a look at several keys can tell about evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import load
from appliance.errors import ConfigError

RECORDER = '[[recorder]]\nname = "edge"\ninterface = "lo"\n'
EVIDENCE = '[[evidence]]\nname = "n"\non = ["log:notice"]\nrecorder = "edge"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (EVIDENCE, 'evidence[0].recorder: there is no recorder "edge", write a table [[recorder]]'),
        (
            RECORDER + EVIDENCE.replace("edge", "egde"),
            'there is no recorder "egde", did you mean "edge"?',
        ),
        (RECORDER + EVIDENCE + 'max_size = "1KiB"', "evidence[0].max_size: must be at least 4KiB, got 1KiB"),
        (RECORDER + EVIDENCE + 'directory = "/x/{path}"', "evidence[0].directory: unknown field {path}"),
        (RECORDER + EVIDENCE + 'max_span = "0s"', "evidence[0].max_span: must be more than 0"),
        (
            RECORDER + EVIDENCE + 'queue = "block"\nqueue_full = "block"',
            "evidence[0].queue_full: is for durable queues",
        ),
        (RECORDER + EVIDENCE + EVIDENCE, 'the name "n" is used twice'),
        (RECORDER + EVIDENCE.replace("log:notice", "segment:x"), 'a evidence takes only "log:" or "event:"'),
        ('[uids]\non = ["event:x"]', 'uids.on[0]: takes only "log:", got "event:x", write "log:conn"'),
    ],
)
def test_mistakes_are_told_with_their_key(tmp_path: Path, text: str, told: str) -> None:
    """And with what to do."""
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, check=lambda exc: told in str(exc))):
        load(file, environ={})


def test_directory_is_below_the_state_folder(tmp_path: Path) -> None:
    """Unless it is absolute."""
    file = tmp_path / "site.toml"
    file.write_text(f'[appliance]\nstate_dir = "{tmp_path}/s"\n{RECORDER}{EVIDENCE}directory = "e/%Y"\n')
    assert load(file, environ={}).config.evidence[0].directory == f"{tmp_path}/s/e/%Y"


def test_map_of_uids_is_kept_if_there_is_a_recorder(tmp_path: Path) -> None:
    """And it was not said otherwise."""
    file = tmp_path / "site.toml"
    for text, expected in (("", False), (RECORDER, True), (f"{RECORDER}[uids]\non = []\n", False)):
        file.write_text(text)
        assert load(file, environ={}).config.has_uids is expected
