"""Files, includes, the environment and relative paths."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config import ConfigError, Loaded, load, render

Loader = Callable[..., Loaded]
Mistakes = Callable[..., list[str]]

ZMQ = '[[zmq]]\nname = "bro"\nbind = ["tcp://*:0"]\n'
HOOK = '[[hook]]\nname = "h"\nrun = "a:b"\non = ["log:*"]\n'
SINK = '[[sink]]\nname = "s"\non = ["log:*"]\n'


def test_an_empty_file_is_a_configuration(read: Loader, folder: Path) -> None:
    """Everything has a default."""
    loaded = read("")
    assert loaded.config.zmq == ()
    assert loaded.config.api.listen == ("unix:/run/broappliance/api.sock",)
    assert loaded.files == (Path("site.toml"),)
    assert not loaded.is_set("api.listen")


def test_the_environment_of_the_process_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers need not pass one."""
    monkeypatch.setenv("CLUSTER_NODE", "logger-1")
    monkeypatch.setenv("MY_DIR", "/my")
    Path("site.toml").write_text("[appliance]\nstate_dir = '${MY_DIR}/state'\nname = 'x'\n")
    config = load(Path("site.toml")).config
    assert (config.appliance.name, config.appliance.state_dir) == ("logger-1", "/my/state")


def test_the_cluster_names_the_node(read: Loader, mistakes: Mistakes) -> None:
    """CLUSTER_NODE wins over the file; an empty one is none; a bad one is the environment's mistake."""
    text = "[appliance]\nname = 'a'\n"
    assert read(text, environ={"CLUSTER_NODE": "b"}).config.appliance.name == "b"
    assert read(text, environ={"CLUSTER_NODE": ""}).config.appliance.name == "a"
    assert mistakes(text, environ={"CLUSTER_NODE": "b c"}) == [
        'site.toml: appliance.name: CLUSTER_NODE="b c" in the environment is not the name of a node'
    ]
    assert mistakes("appliance = 1", environ={"CLUSTER_NODE": "b"}) == [
        "site.toml:1: appliance: expected a table, got an integer"
    ]


def test_the_group_says_how_many_mistakes_there_are(read: Loader) -> None:
    """One mistake is one."""
    with pytest.raises(ExceptionGroup, match=r"^site\.toml: 1 mistake in the configuration"):
        read("x = 1")
    with pytest.raises(ExceptionGroup, match=r"^site\.toml: 2 mistakes in the configuration"):
        read("x = 1\ny = 1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[log]\nlevel = \n", "site.toml:2: invalid value at column 9"),
        ("[log]\n[log]\n", "site.toml:2: cannot declare ('log',) twice at column 5"),
        ("a = 1\na = 2\n", "site.toml:2: cannot overwrite a value at column 6"),
        ("\n\na = [1,\n\n", "site.toml:3: invalid value at the end of the file"),
        ("a = '", 'site.toml:1: expected "\'" at the end of the file'),
        (f"a = {'[' * 5000}", "site.toml: is nested too deeply"),
    ],
)
def test_a_text_that_is_not_toml_is_told_with_its_line(mistakes: Mistakes, text: str, told: str) -> None:
    """What tomllib says, in the form of all other mistakes."""
    assert mistakes(text) == [told]


def test_a_number_of_thousands_of_digits_is_refused(mistakes: Mistakes) -> None:
    """Python's own limit, told as a mistake in the file."""
    (told,) = mistakes(f"a = {'9' * 5000}")
    assert told.startswith("site.toml: exceeds the limit")


def test_files_that_cannot_be_read_are_told(folder: Path) -> None:
    """A missing file, a folder, another encoding."""

    def told() -> list[str]:
        with pytest.raises(ExceptionGroup) as caught:
            load(Path("site.toml"), environ={})
        return [str(each) for each in caught.value.exceptions]

    assert told() == ["site.toml: cannot be read: No such file or directory"]
    Path("site.toml").write_bytes(b"a = 1\nb = '\xe9'\n")
    assert told() == ["site.toml:2: is not UTF-8"]
    Path("site.toml").write_text("include = ['*.d']")
    Path("x.d").mkdir()
    assert told() == ["x.d: cannot be read: Is a directory"]


def test_windows_line_ends_are_fine(folder: Path) -> None:
    """Lines are counted as everywhere."""
    Path("site.toml").write_bytes(b"[log]\r\nlevel = 'info'\r\nx = 1\r\n")
    with pytest.raises(ExceptionGroup) as caught:
        load(Path("site.toml"), environ={})
    assert [str(each) for each in caught.value.exceptions] == ["site.toml:3: log.x: unknown key"]


class TestIncludes:
    """Further files at the top of a file."""

    def test_tables_are_merged_and_arrays_of_tables_appended(self, read: Loader) -> None:
        """In the order of names, whatever the order in the folder."""
        files = {
            "conf.d/b.toml": ZMQ.replace("bro", "b") + "[appliance]\ndrain_timeout = '1s'\n",
            "conf.d/a.toml": ZMQ.replace("bro", "a") + "[log]\nlevel = 'debug'\n",
            "conf.d/c.txt": "not TOML",
        }
        loaded = read(f"include = ['conf.d/*.toml']\n[appliance]\nname = 'n'\n{ZMQ}", files=files)
        assert [door.name for door in loaded.config.zmq] == ["bro", "a", "b"]
        assert loaded.config.appliance.drain_timeout == 10**9
        assert loaded.config.log.level == "debug"
        assert loaded.files == (Path("site.toml"), Path("conf.d/a.toml"), Path("conf.d/b.toml"))
        assert str(loaded.error("zmq[2].bind[0]", "no")) == "conf.d/b.toml:3: zmq[2].bind[0]: no"

    def test_inline_arrays_of_tables_are_appended_too(self, read: Loader) -> None:
        """How an array is written does not matter."""
        files = {"a.toml": "zmq = [{name = 'a', bind = ['tcp://*:0']}]"}
        assert len(read(f"include = ['a.toml']\n{ZMQ}", files=files).config.zmq) == 2

    def test_they_nest_and_are_relative_to_their_own_file(self, read: Loader) -> None:
        """Each file knows only its own folder; names may come from the environment; paths may be absolute."""
        files = {"d/a.toml": "include = ['e/${N}.toml']\n", "d/e/b.toml": ZMQ}
        loaded = read("include = ['d/a.toml']", files=files, environ={"N": "b"})
        assert loaded.files == (Path("site.toml"), Path("d/a.toml"), Path("d/e/b.toml"))
        absolute = str(Path("d/e/b.toml").absolute())
        assert read(f"include = ['{absolute}']").files == (Path("site.toml"), Path(absolute))

    def test_a_folder_name_is_no_pattern(self, folder: Path) -> None:
        """Only what is written in the file is."""
        Path("[x]").mkdir()
        Path("[x]/site.toml").write_text("include = ['a.toml']")
        Path("[x]/a.toml").write_text("")
        assert len(load(Path("[x]/site.toml"), environ={}).files) == 2

    def test_a_pattern_may_match_nothing_but_a_name_may_not(self, mistakes: Mistakes) -> None:
        """An empty conf.d is usual; a missing file is a mistake, and nothing else is blamed on it."""
        assert mistakes("include = ['conf.d/*.toml', '?.x']") == []
        assert mistakes(f"include = [\n 'a.toml']\n{HOOK}from = ['zmq.bro']") == [
            'site.toml:2: include[0]: there is no file "a.toml"'
        ]

    def test_a_key_set_twice_names_both_places(self, mistakes: Mistakes) -> None:
        """Values, arrays of values, and a table against a value."""
        files = {
            "a.toml": "\n[log]\nlevel = 'info'\n[api]\nlisten = ['unix:a']\n[appliance]\nname = {x = 1}\n",
        }
        text = "include = ['a.toml']\n[log]\nlevel = 'info'\n[api]\nlisten = ['unix:b']\n[appliance]\nname = 'a'\n"
        assert mistakes(text, files=files) == [
            "a.toml:3: log.level: is set twice, first at site.toml:3",
            "a.toml:5: api.listen: is set twice, first at site.toml:5",
            "a.toml:7: appliance.name: is set twice, first at site.toml:7",
        ]

    def test_mistakes_of_all_files_are_told_at_once(self, mistakes: Mistakes) -> None:
        """Syntax in one does not hide types in another; a door in the broken file is not missed."""
        files = {"a.toml": "[[zmq]]\nname = \n", "b.toml": "[log]\nlevel = 1\n"}
        assert mistakes(f"include = ['?.toml']\n{HOOK}from = ['zmq.bro']\nx = 1\n", files=files) == [
            "site.toml:7: hook[0].x: unknown key",
            "a.toml:2: invalid value at column 8",
            'b.toml:2: log.level: expected "debug", "info", "warning" or "error", got an integer',
        ]

    def test_circles_are_refused(self, mistakes: Mistakes) -> None:
        """At the include that closes the circle."""
        assert mistakes("include = ['site.toml']") == ["site.toml:1: include[0]: site.toml includes itself"]
        assert mistakes("include = ['a.toml']", files={"a.toml": "\ninclude = ['site.toml']"}) == [
            "a.toml:2: include[0]: site.toml includes itself"
        ]

    def test_a_file_is_included_once(self, mistakes: Mistakes) -> None:
        """Twice would append its tables twice."""
        assert mistakes("include = ['*.x', 'a.x']", files={"a.x": ""}) == [
            "site.toml:1: include[1]: a.x is included twice, first at site.toml:1"
        ]

    def test_chains_have_an_end(self, mistakes: Mistakes) -> None:
        """Eight levels are more than anybody needs."""
        files = {f"{number}.x": f"include = ['{number + 1}.x']" for number in range(1, 9)}
        assert mistakes("include = ['1.x']", files=files | {"8.x": ""}) == []
        assert mistakes("include = ['1.x']", files=files | {"9.x": ""}) == [
            "8.x:1: include[0]: more than 8 files include each other"
        ]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("include = 'a.toml'", 'site.toml:1: include: expected an array, got a string, write ["a.toml"]'),
            ("\ninclude = 5", "site.toml:2: include: expected an array, got an integer"),
            ("include = [5]", "site.toml:1: include[0]: expected a string, got an integer"),
            ("include = ['${X}']", "site.toml:1: include[0]: the environment variable X is not set"),
        ],
    )
    def test_it_is_an_array_of_strings(self, mistakes: Mistakes, text: str, told: str) -> None:
        """Everything else is told."""
        assert mistakes(text) == [told]


class TestPaths:
    """After loading, every path is absolute."""

    def test_outputs_are_in_state_dir_and_that_beside_the_file(self, folder: Path) -> None:
        """A pattern keeps its directives; the folder's own special characters are escaped."""
        Path("a%b{c}").mkdir()
        Path("a%b{c}/site.toml").write_text(
            "[appliance]\nstate_dir = 'state'\n"
            "[[zmq]]\nname = 'z'\nbind = ['ipc://l.sock', 'tcp://*:0']\n"
            "[[capture]]\nname = 'c'\nconn_type = 'udp'\naddress = ['', 0]\n[[capture.handler]]\nname = 'raw'\n"
            f"{SINK}path = './l/{{path}}%Y'\n"
            "[[sink]]\nname = 't'\non = ['log:*']\npath = '/data/{path}'\n"
            "[api]\nlisten = ['unix:a.sock']\n"
        )
        config = load(Path("a%b{c}/site.toml"), environ={}).config
        state, escaped = f"{folder}/a%b{{c}}/state", f"{folder}/a%%b{{{{c}}}}/state"
        assert config.appliance.state_dir == state
        assert config.zmq[0].bind == (f"ipc://{state}/l.sock", "tcp://*:0")
        assert config.capture[0].handler[0].log_dir == f"{escaped}/captures"
        assert [sink.path for sink in config.sink] == [f"{escaped}/l/{{path}}%Y", "/data/{path}"]
        assert config.api.listen == (f"unix:{state}/a.sock",)

    def test_a_state_dir_above_the_file_is_no_way_out(self, read: Loader, folder: Path) -> None:
        """Path patterns begin with it and refuse "..", so it is taken out; printing and reading go on."""
        config = read(f"[appliance]\nstate_dir = 'a/../../b'\n{SINK}path = 'x'\n[api]\nlisten = ['unix:../c']\n").config
        assert config.sink[0].path == f"{folder.parent}/b/x"
        assert config.api.listen == (f"unix:{folder.parent}/c",)
        assert read(render(config)).config == config

    def test_inputs_are_beside_the_file_that_names_them(self, read: Loader, folder: Path) -> None:
        """Which may be an included one."""
        files = {"d/a.toml": "[appliance]\npython_path = ['py', '/abs']\nstate_dir = 's'\n"}
        appliance = read("include = ['d/a.toml']", files=files).config.appliance
        assert appliance.python_path == (f"{folder}/d/py", "/abs")
        assert appliance.state_dir == f"{folder}/s"


class TestLoaded:
    """What later stages ask."""

    def test_errors_are_placed_at_the_key_or_its_table(self, read: Loader) -> None:
        """A default value has no line of its own."""
        loaded = read(f"{HOOK}\n[log]\n")
        error = loaded.error("hook[0].run", "cannot be imported", hint="see python_path")
        assert isinstance(error, ConfigError)
        assert (error.file, error.line, error.key) == ("site.toml", 3, "hook[0].run")
        assert str(error) == "site.toml:3: hook[0].run: cannot be imported, see python_path"
        assert str(loaded.error("hook[0].where", "bad")) == "site.toml:1: hook[0].where: bad"
        assert str(loaded.error("api.listen", "taken")) == "site.toml: api.listen: taken"

    def test_it_knows_what_is_written(self, read: Loader) -> None:
        """A default that is written is written."""
        loaded = read("[api]\nlisten = ['unix:/run/broappliance/api.sock']\n")
        assert loaded.is_set("api.listen")
        assert loaded.is_set("api")
        assert not loaded.is_set("log.level")

    def test_services_have_key_paths(self, read: Loader) -> None:
        """Names may contain dots."""
        loaded = read(HOOK + HOOK.replace('"h"', '"h.2"'))
        assert loaded.key_of("hook.h.2") == "hook[1]"
        assert loaded.key_of("api") == "api"
        with pytest.raises(KeyError, match=r"hook\.x"):
            loaded.key_of("hook.x")


def test_the_import_is_light() -> None:
    """Checking a file needs no event loop, no sockets library, no expressions, no logging."""
    code = "import sys, appliance.config; print({'trio', 'zmq', 'rule_engine', 'structlog'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
def test_the_time_grows_with_the_file(read: Loader) -> None:
    """Four times as many services take some four times as long, and not sixteen times."""

    def seconds(services: int) -> float:
        text = "".join((ZMQ + HOOK).replace("bro", f"b{i}").replace('"h"', f'"h{i}"') for i in range(services // 2))
        took = []
        for _ in range(5):
            start = time.process_time()
            read(text)
            took.append(time.process_time() - start)
        return min(took)

    seconds(50)  # what is made once
    assert seconds(200) < 10 * seconds(50)
