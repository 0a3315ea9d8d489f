"""The group: help, exit codes, completion, start-up, where the agent is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hotswap
from tests.vm_agent.agent import FakeAgent, run
from vm_agent.cli import options
from vm_agent.cli.main import COMMANDS
from vm_agent.errors import SpecError


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(directory: Path, command: str) -> None:
    done = run(command, "--help", socket=directory)
    assert done.exit_code == 0
    assert f"Usage: hotswap-agent {command}" in done.stdout


def test_all_commands_are_listed(directory: Path) -> None:
    done = run("--help", socket=directory)
    assert all(command in done.stdout for command in COMMANDS)


def test_version(directory: Path) -> None:
    assert run("--version", socket=directory).stdout.startswith(f"hotswap-agent {hotswap.__version__} (Python 3.")


def test_an_unknown_command_is_a_usage_error(directory: Path) -> None:
    assert run("upgrad", socket=directory).exit_code == 2


@pytest.mark.parametrize("command", [["status"], ["upgrade", "edge"], ["apply"], ["history", "-f"], ["inspect"]])
def test_without_an_agent_it_says_how_to_start_one(directory: Path, command: list[str]) -> None:
    done = run(*command, socket=directory / "agent.sock")
    assert done.exit_code == 26
    assert done.stderr.startswith(f"hotswap-agent: nobody answers on {directory}/agent.sock: start the agent with")


def test_a_name_that_nobody_knows(agent: FakeAgent) -> None:
    done = agent.run("status", "egde")
    assert (done.exit_code, done.stderr) == (24, "hotswap-agent: there is no sidecar 'egde'; there are: edge\n")


def test_settings_say_where_the_agent_is(agent: FakeAgent, directory: Path) -> None:
    settings = directory / "agent.yaml"
    settings.write_text(yaml.safe_dump({"runtime_dir": str(agent.socket.parent)}))
    command = [sys.executable, "-m", "vm_agent.cli.main", "status", "--settings", str(settings)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    assert "edge" in done.stdout


def test_settings_that_are_broken_are_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = directory / "agent.yaml"
    settings.write_text("runtime_dirs: here\n")
    monkeypatch.delenv("HOTSWAP_AGENT_SOCKET", raising=False)
    monkeypatch.setattr(options, "SETTINGS", settings)
    command = run("status", socket=Path())
    done = run("status", "--settings", str(settings), socket=Path())
    assert command.exit_code == done.exit_code == 26  # the socket is said
    with pytest.raises(SpecError, match="say where the agent is with --socket"):
        options.Where(None, None).client()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(directory: Path, shell: str) -> None:
    done = run("completion", shell, socket=directory)
    assert done.exit_code == 0
    assert "_HOTSWAP_AGENT_COMPLETE" in done.stdout


def test_names_are_completed(agent: FakeAgent) -> None:
    environment = {
        "_HOTSWAP_AGENT_COMPLETE": "bash_complete",
        "COMP_WORDS": "hotswap-agent upgrade e",
        "COMP_CWORD": "2",
        "HOTSWAP_AGENT_SOCKET": str(agent.socket),
    }
    program = "from vm_agent.cli.main import main; main(prog_name='hotswap-agent')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "plain,edge\n"


def test_a_command_starts_without_what_it_does_not_need(agent: FakeAgent) -> None:
    program = (
        "import sys; from vm_agent.cli.main import main; "
        f"main(['status', 'edge', '--socket', {str(agent.socket)!r}], standalone_mode=False); "
        "print(sorted({'rich', 'asyncio', 'proxy', 'yaml', 'http.client', 'ssl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
