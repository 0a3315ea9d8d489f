from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.companion import ROOT
from tests.kit.offspring import Offspring, wait_for_end, wait_for_stop, with_token
from tests.kit.waiting import Late, eventually

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]
FORK = f"import subprocess; print(subprocess.Popen({SLEEPER!r}, start_new_session=True).pid, flush=True)"
# Starts another process, prints its pid, exits.
FORKER = [sys.executable, "-c", FORK]
# The same, but stays.
STAYER = [sys.executable, "-c", f"{FORK}; import signal; signal.pause()"]
# The same, but only its main thread exits. The environment is gone with that, and the child stays its child until
# the other thread exits: what is a moment in every exit, for as long as a test likes.
WAIT = "import ctypes, threading; threading.Thread(target=threading.Event().wait).start()"
LEAVER = [sys.executable, "-c", f"{WAIT}; {FORK}; ctypes.CDLL(None).pthread_exit(None)"]


@pytest.fixture
def offspring() -> Iterator[Offspring]:
    made = Offspring()
    yield made
    made.end()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def start(offspring: Offspring, argv: list[str], log: Path) -> int:
    return offspring.start(argv, env=dict(os.environ), cwd=log.parent, stderr=log)


def test_processes_are_found_until_they_end(offspring: Offspring, log: Path) -> None:
    pid = start(offspring, SLEEPER, log)
    eventually(lambda: offspring.living() == [pid], within=5, what="the process is found")
    assert offspring.end() == [pid]
    assert offspring.living() == []


@pytest.mark.parametrize("named", [True, False])
def test_one_that_hides_its_environment_is_found_by_its_command(log: Path, named: bool) -> None:
    """Root sees every environment, so all of it happens without the privileges of root."""
    hider = "import prctl, signal; prctl.set_dumpable(0); print(1, flush=True); signal.pause()"
    looker = f"""
import os, sys
from pathlib import Path
from tests.kit.offspring import Offspring
from tests.kit.waiting import eventually

folder = Path({str(log.parent)!r})
offspring = Offspring(folder)
argv = [sys.executable, "-c", {hider!r}, str(folder / "edge.yaml") if {named} else "edge.yaml"]
pid = offspring.start(argv, env=dict(os.environ), cwd=folder, stderr=folder / "log")
eventually(lambda: (folder / "log").read_text(), within=10, what="it hides")
print(pid in offspring.living())
os.kill(pid, 9)
offspring.status(pid, within=10)
offspring.end()
"""
    drop = ["setpriv", "--bounding-set", "-all"] if os.getuid() == 0 else []
    argv = [*drop, sys.executable, "-c", looker]
    seen = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == str(named)


def test_the_status_of_an_orphan_is_known(offspring: Offspring, log: Path) -> None:
    forker = start(offspring, FORKER, log)
    assert offspring.status(forker, within=10) == 0
    orphan = int(log.read_text())
    assert orphan in offspring.living()
    os.kill(orphan, signal.SIGTERM)
    assert offspring.status(orphan, within=10) == -signal.SIGTERM


def test_the_status_of_an_orphan_waits_for_a_source_that_is_leaving(offspring: Offspring, log: Path) -> None:
    leaver = start(offspring, LEAVER, log)
    try:
        orphan = int(eventually(log.read_text, within=10, what="the process starts another"))
        eventually(lambda: offspring.living() == [orphan], within=10, what="the source has no environment any more")
        os.kill(orphan, signal.SIGTERM)
        with pytest.raises(Late):
            offspring.status(orphan, within=0.1)
    finally:
        os.kill(leaver, signal.SIGKILL)
    assert offspring.status(orphan, within=10) == -signal.SIGTERM


def test_a_source_that_lives_keeps_the_status_of_its_child(offspring: Offspring, log: Path) -> None:
    start(offspring, STAYER, log)
    child = int(eventually(log.read_text, within=10, what="the process starts another"))
    os.kill(child, signal.SIGTERM)
    with pytest.raises(ChildProcessError):
        offspring.status(child, within=10)


def test_a_process_that_does_not_end_is_late(offspring: Offspring, log: Path) -> None:
    pid = start(offspring, SLEEPER, log)
    with pytest.raises(Late):
        offspring.status(pid, within=0.01)


def test_stopped_processes_are_ended_too(offspring: Offspring, log: Path) -> None:
    pid = start(offspring, SLEEPER, log)
    os.kill(pid, signal.SIGSTOP)
    wait_for_stop(pid, within=5)
    assert offspring.end() == [pid]


def test_others_are_left_alone(offspring: Offspring) -> None:
    other = Offspring()
    with subprocess.Popen(SLEEPER, env=other.environment) as process:
        eventually(lambda: other.living() == [process.pid], within=5, what="the process is found")
        assert offspring.end() == []
        assert process.poll() is None
        assert other.end() == [process.pid]


def test_one_with_an_environment_of_its_own_is_found_by_its_command(tmp_path: Path) -> None:
    offspring = Offspring(tmp_path)
    process = subprocess.Popen([*SLEEPER, str(tmp_path / "edge.yaml")], env={}, start_new_session=True)
    assert offspring.end() == [process.pid]
    process.wait()


def test_nothing_outlives_a_test_process_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal\n"
        "from tests.kit.offspring import Offspring\n"
        "offspring = Offspring()\n"
        f"pid = offspring.start({SLEEPER!r}, env={{}}, cwd='/', stderr=pathlib.Path('/dev/null'))\n"
        "print(offspring.token, pid, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout is not None
        token, pid = test.stdout.readline().split()
        test.kill()
        wait_for_end(int(pid), within=10)
    assert with_token(token) == []
