from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.kit.offspring import kill, run_state
from tests.kit.waiting import eventually
from vm_agent.errors import ReleaseError
from vm_agent.releases.commands import Commands, complaint, environment, last_lines

PATIENCE = 20.0


def run(tmp_path: Path, script: str, **variables: str) -> tuple[int, str]:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        commands = Commands(tmp_path, {"PATH": os.environ["PATH"], **variables}, lock)
        return asyncio.run(commands.run(["sh", "-c", script]))
    finally:
        os.close(lock)


def test_exit_code_and_the_end_of_both_outputs_are_told(tmp_path: Path) -> None:
    assert run(tmp_path, "echo one; echo two >&2; exit 3") == (3, "one\ntwo\n")
    code, output = run(tmp_path, "seq 100000; kill -9 $$")
    assert code == -9
    assert output.endswith("\n100000\n")
    assert len(output) <= 16 << 10


def test_what_a_program_leaves_running_is_ended(tmp_path: Path) -> None:
    code, output = run(tmp_path, "sleep 1000 & echo $!")
    assert code == 0
    eventually(lambda: run_state(int(output)) in "ZX-", within=PATIENCE, what="it ended")


def test_a_program_gets_nothing_but_what_it_needs(tmp_path: Path) -> None:
    inherited = {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy",
        "NOTIFY_SOCKET": "/run/x",
        "PYTHONPATH": "/x",
        "PIP_INDEX_URL": "x",
        "SECRET": "x",
    }
    offline = environment(inherited, tmp_path, configured_pip=False)
    assert offline == {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy",
        "PIP_CONFIG_FILE": "/dev/null",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(tmp_path),
    }
    configured = environment(inherited, tmp_path, configured_pip=True)
    assert configured["PIP_INDEX_URL"] == "x"
    assert "PIP_CONFIG_FILE" not in configured


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    commands = Commands(tmp_path, {"PATH": "/bin"}, 0)
    with pytest.raises(ReleaseError, match="/no/such cannot be started: No such file"):
        asyncio.run(commands.run(["/no/such"]))


def test_output_is_shown_without_what_controls_a_terminal() -> None:
    assert last_lines("\n".join(str(number) for number in range(50)) + "\n\x1b[31mred\n\n") == "\n".join(
        f"    {line}" for line in [*range(39, 50), "[31mred"]
    )


def test_what_gets_away_does_not_hold_up_the_installation(tmp_path: Path) -> None:
    code, output = run(tmp_path, "setsid sleep 1000 & echo $!; exit 2")
    try:
        assert code == 2
    finally:
        eventually(lambda: run_state(int(output)) not in "R-", within=PATIENCE, what="it sleeps")
        kill(int(output), signal.SIGKILL)


def test_of_pip_its_complaint_is_told_alone() -> None:
    went_well = "Processing ./candidates/hotswap-1.0.whl\nLooking in links: required\n"
    missing = "ERROR: Could not find a version\nERROR: No matching distribution found for click\n"
    assert complaint(f"{went_well}{missing}\n[notice] new") == (
        "    ERROR: Could not find a version\n    ERROR: No matching distribution found for click"
    )
    built = "error: subprocess-exited-with-error\n  setup.py is wrong\nERROR: Failed building wheel\n"
    assert "setup.py is wrong" in complaint(built)
    assert complaint("Killed\n") == "    Killed"
