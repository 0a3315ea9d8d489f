from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hotswap import spawn
from hotswap.errors import AlreadyRunning
from hotswap.handover.rounds import Limits
from proxy.cli import run as module
from proxy.cli.run import usual_takeover
from proxy.config.loader import loads
from proxy.server import ProxyServer

CONFIG = """\
name: edge
runtime_dir: /run/from-config
admin: 127.0.0.1:9901
drain_timeout: 7s
upgrade: {deadline: 20s, downtime_budget: 3ms, max_rounds: 4, drain_timeout: 90s}
listeners:
  - {name: db, address: 127.0.0.1:5432, protocol: tcp, cluster: db}
clusters:
  - {name: db, endpoints: [127.0.0.1:15432]}
"""


class Generation:
    """Stands for `hotswap.generation.Generation`: keeps what it was made of."""

    made: Generation
    ends: int | Exception = 0

    def __init__(self, name: str, server: ProxyServer, **options: Any) -> None:
        self.name = name
        self.server = server
        self.options = options
        type(self).made = self

    def run(self) -> int:
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


@pytest.fixture(autouse=True)
def _no_real_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Generation", Generation)
    monkeypatch.setattr(module, "set_up", lambda *_: None)
    monkeypatch.delenv("HOTSWAP_RUNTIME_DIR", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "edge.yaml"
    path.write_text(CONFIG)
    return path


def options(path: Path, *arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(module.run, ["-c", str(path), *arguments])
    assert result.exit_code == 0, result.output
    return Generation.made.options


def test_generation_is_made_of_the_configuration(path: Path) -> None:
    made = options(path)
    assert Generation.made.name == "edge"
    assert Generation.made.server.config == loads(CONFIG).config
    assert made["config_id"] == loads(CONFIG).config.id
    assert str(made["admin"]) == "127.0.0.1:9901"
    assert made["limits"] == Limits(attempt=20.0, drain=7.0, farewell=90.0, budget=0.003, rounds=4)
    assert made["stay_as_keeper"] is False


def test_options_come_before_the_configuration(path: Path) -> None:
    made = options(path, "--deadline", "5s", "--keeper", "--takeover", "require", "--runtime-dir", "/run/from-option")
    assert made["limits"].attempt == 5.0
    assert made["stay_as_keeper"] is True
    assert made["takeover"] == "require"
    assert made["runtime_dir"] == Path("/run/from-option")


def test_runtime_dir_comes_from_option_environment_configuration_or_default(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert options(path)["runtime_dir"] == Path("/run/from-config")
    monkeypatch.setenv("HOTSWAP_RUNTIME_DIR", "/run/from-environment")
    assert options(path)["runtime_dir"] == Path("/run/from-environment")
    assert options(path, "--runtime-dir", "/run/from-option")["runtime_dir"] == Path("/run/from-option")
    monkeypatch.delenv("HOTSWAP_RUNTIME_DIR")
    path.write_text(CONFIG.replace("runtime_dir", "# runtime_dir"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert options(path)["runtime_dir"] == Path("/run/hotswap")


@pytest.mark.parametrize(("terminal", "takeover"), [(True, "never"), (False, "auto")])
def test_takeover_is_never_on_a_terminal_and_auto_elsewhere(
    terminal: bool, takeover: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: terminal and fd == 0)
    assert usual_takeover() == takeover


def test_exit_code_is_that_of_the_generation_or_of_its_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generation, "ends", 143)
    assert CliRunner().invoke(module.run, ["-c", str(path)]).exit_code == 143
    monkeypatch.setattr(Generation, "ends", AlreadyRunning("edge is running"))
    assert CliRunner().invoke(module.run, ["-c", str(path)]).exit_code == 5


def test_open_files_are_raised_to_what_is_granted(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        options(path)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- a process of its own ------------------------------------------------------------------------------


def run(path: Path, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hotswap.cli", "run", "-c", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **settings)


def test_every_config_error_is_logged(path: Path) -> None:
    path.write_text(CONFIG.replace("cluster: db", "cluster: app").replace("7s", "7"))
    done = run(path)
    assert (done.returncode, done.stdout) == (3, "")
    lines = done.stderr.splitlines()
    assert f"{path}:4: drain_timeout: 7 has no unit; write 7s" in lines[0]
    assert f"{path}:7: listeners[0].cluster: there is no cluster 'app'" in lines[1]
    assert "errors=2" in lines[2]


def test_config_errors_are_json_lines_if_asked_for(path: Path) -> None:
    path.write_text("name: edge\n")
    done = run(path, "--log-format", "json")
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 3
    assert len(records) == 3


def test_whoever_spawned_it_hears_of_config_errors(path: Path) -> None:
    path.write_text("name: [\n")
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as reports:
        environment = {**os.environ, spawn.REPORT_VARIABLE: str(write_end)}
        run(path, env=environment, pass_fds=(write_end,))
        os.close(write_end)
        report = json.loads(reports.read())
    assert report["code"] == 3
    assert report["message"].startswith(f"{path}:")


def test_the_file_says_where_to_a_user_without_a_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = tmp_path / "edge.yaml"
    path.write_text(CONFIG)
    result = CliRunner().invoke(module.run, ["-c", str(path)])
    assert result.exit_code == 0, result.output
    assert Generation.made.options["runtime_dir"] == Path("/run/from-config")


def test_a_config_error_is_the_last_word_of_a_user_without_a_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    path = tmp_path / "edge.yaml"
    path.write_text("name: edge\nlisteners: 5\n")
    assert CliRunner().invoke(module.run, ["-c", str(path)]).exit_code == 3
