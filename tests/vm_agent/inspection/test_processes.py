from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.offspring import Offspring
from tests.kit.waiting import eventually
from vm_agent.inspection.processes import everybody, fields, holders

PATIENCE = 20.0


@pytest.fixture
def offspring() -> Iterator[Offspring]:
    made = Offspring()
    try:
        yield made
    finally:
        made.end()


def _holding(offspring: Offspring, path: Path) -> int:
    """A process that has this file open, and waits."""
    told = path.with_name("told")
    program = f"import os, signal; fd = os.open({str(path)!r}, os.O_RDONLY); print('open', flush=True); signal.pause()"
    argv = [sys.executable, "-I", "-c", program]
    pid = offspring.start(argv, env=offspring.environment, cwd=path.parent, stderr=told)
    eventually(lambda: "open" in told.read_text(), within=PATIENCE, what="it opened the file")
    return pid


def test_all_processes_are_seen_with_their_command_and_their_age(tmp_path: Path, offspring: Offspring) -> None:
    pid = _holding(offspring, tmp_path)
    found = everybody()
    assert found[pid].command[0] == sys.executable
    assert found[pid].source == os.getpid()
    assert found[pid].session == pid
    assert found[pid].began == pytest.approx(time.time(), abs=PATIENCE)
    assert found[os.getpid()].began <= found[pid].began
    assert all(one.command for one in found.values())


def test_who_has_a_file_open_is_found_by_the_file_and_not_by_its_name(tmp_path: Path, offspring: Offspring) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    pid = _holding(offspring, lock)
    files = {"edge": lock, "other": tmp_path / "none"}
    assert holders(files, [pid, os.getpid()]) == {"edge": frozenset({pid}), "other": frozenset()}
    lock.rename(tmp_path / "old")
    lock.touch()
    assert holders(files, [pid])["edge"] == frozenset()


def test_processes_that_ended_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    assert holders({"edge": tmp_path / "lock"}, [1], tmp_path) == {"edge": frozenset()}


def test_fields_of_a_process_have_names() -> None:
    found = fields(os.getpid())
    assert found["Uid"].split()[1] == str(os.geteuid())
    assert found["VmRSS"].endswith("kB")
