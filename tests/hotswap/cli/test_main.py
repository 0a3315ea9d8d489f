"""The group: commands of other packages, help, exit codes, completion, start-up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

import hotswap
from hotswap.cli import main as module
from hotswap.cli.lazy import docstring
from hotswap.cli.main import OWN_COMMANDS
from hotswap.cli.options import parse_duration
from hotswap.errors import ConfigError
from hotswap.points import Point
from tests.hotswap.cli.server import FakeServer, run


@click.command()
def wrong() -> None:
    """Fails as expected."""
    raise ConfigError("edge.yaml:1: name: is missing")


NOT_A_COMMAND = 1


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of another package, good and bad ones."""
    here = __name__
    points = [
        Point("wrong", f"{here}:wrong"),
        Point("gone", "no_such_package:gone"),
        Point("odd", f"{here}:NOT_A_COMMAND"),
        Point("upgrade", f"{here}:wrong"),
    ]
    monkeypatch.setitem(sys.modules, here, sys.modules[__name__])

    def entry_points(group: str, name: str | None = None) -> list[Point]:
        return [point for point in points if group == module.GROUP and name in {None, point.name}]

    monkeypatch.setattr(module, "entry_points", entry_points)


@pytest.mark.usefixtures("others")
def test_an_expected_error_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = run("wrong", runtime_dir=tmp_path)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "", "hotswap: edge.yaml:1: name: is missing\n")


@pytest.mark.usefixtures("others")
def test_a_command_that_cannot_be_loaded_spoils_no_other(tmp_path: Path) -> None:
    done = run("gone", "-c", "x", runtime_dir=tmp_path)
    assert done.exit_code == 1
    assert "no_such_package:gone, which cannot be loaded" in done.stderr
    assert run("status", runtime_dir=tmp_path).exit_code == 0
    assert run("odd", runtime_dir=tmp_path).exit_code == 1


@pytest.mark.usefixtures("others")
def test_our_commands_cannot_be_replaced(tmp_path: Path) -> None:
    assert run("upgrade", "edge", runtime_dir=tmp_path).exit_code == 4


def test_unknown_commands_and_missing_arguments_are_usage_errors(tmp_path: Path) -> None:
    assert run("upgrad", runtime_dir=tmp_path).exit_code == 2
    assert run("upgrade", runtime_dir=tmp_path).exit_code == 2
    assert run("completion", "csh", runtime_dir=tmp_path).exit_code == 2


def test_version(tmp_path: Path) -> None:
    done = run("--version", runtime_dir=tmp_path)
    assert done.stdout.startswith(f"hotswap {hotswap.__version__} (Python 3.")


@pytest.mark.parametrize("command", sorted(OWN_COMMANDS))
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    done = run(command, "--help", runtime_dir=tmp_path)
    assert done.exit_code == 0
    assert f"Usage: hotswap {command}" in done.stdout


def test_the_list_of_commands_fits_its_lines(tmp_path: Path) -> None:
    done = run("--help", runtime_dir=tmp_path)
    assert all(command in done.stdout for command in (*OWN_COMMANDS, "run", "check", "schema"))


def test_the_list_says_what_the_commands_say_of_themselves(tmp_path: Path) -> None:
    context = click.Context(module.main)
    for name in module.main.list_commands(context):
        command = module.main.get_command(context, name)
        assert command is not None
        said = (docstring(module.main.target(name) or "").split(), (command.help or "").split())
        assert said[0], f"{name} would be imported to be listed"
        assert said[0] == said[1]


@pytest.mark.usefixtures("others")
def test_the_list_has_commands_that_say_nothing_and_those_that_cannot_be_loaded(tmp_path: Path) -> None:
    listed = run("--help", runtime_dir=tmp_path).stdout
    assert "Fails as expected." in listed
    assert listed.count("(cannot be loaded)") == len(("gone", "odd"))


@pytest.mark.parametrize(
    "target", ["", "no_such_package:x", "hotswap.cli.main:nothing", "hotswap.cli.main", "sys:exit"]
)
def test_what_has_no_docstring_to_be_found_has_none(target: str) -> None:
    assert docstring(target) == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tmp_path: Path, shell: str) -> None:
    done = run("completion", shell, runtime_dir=tmp_path)
    assert done.exit_code == 0
    assert "_HOTSWAP_COMPLETE" in done.stdout


def test_commands_are_completed() -> None:
    environment = {"_HOTSWAP_COMPLETE": "bash_complete", "COMP_WORDS": "hotswap r", "COMP_CWORD": "1"}
    program = (
        "import atexit, sys; from hotswap.cli.main import main; "
        "atexit.register(lambda: print('proxy.server' in sys.modules)); main(prog_name='hotswap')"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "plain,reload\nplain,rollback\nplain,run\nFalse\n"


def test_names_that_run_are_completed(edge: FakeServer) -> None:
    environment = {
        "_HOTSWAP_COMPLETE": "bash_complete",
        "COMP_WORDS": "hotswap status e",
        "COMP_CWORD": "2",
        "HOTSWAP_RUNTIME_DIR": str(edge.runtime_dir),
    }
    program = "from hotswap.cli.main import main; main(prog_name='hotswap')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "plain,edge\n"


def test_a_command_starts_without_what_it_does_not_need(edge: FakeServer) -> None:
    program = (
        "import sys; from hotswap.cli.main import main; "
        f"main(['status', 'edge', '--runtime-dir', {str(edge.runtime_dir)!r}], standalone_mode=False); "
        "unwanted = {'rich', 'asyncio', 'proxy', 'yaml', 'http.client', 'importlib.metadata', 'email'}; "
        "print(sorted(unwanted & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("program", ["hotswap.cli.main", "vm_agent.cli.main"])
def test_the_list_of_commands_imports_none(program: str) -> None:
    text = (
        f"import sys; from {program} import main; main(['--help'], standalone_mode=False); "
        "print(sorted({'rich', 'asyncio', 'proxy.server', 'yaml', 'vm_agent.daemon'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1d", 86400.0), ("1m30s", 90.0), ("1.5", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "1 s", "-1s", "1s2", "1_0s", "\u0661s", "1e3s", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and a unit"):
        parse_duration(text)
