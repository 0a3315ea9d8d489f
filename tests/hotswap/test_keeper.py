"""The keeper, with real processes: what a supervisor or a container sees of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap import keeper
from tests.kit.companion import ROOT
from tests.kit.waiting import eventually, readable

PATIENCE = 10.0

# A source that spawns an owner (argv), says so, and becomes a keeper.
SOURCE = """
import subprocess, sys
from hotswap import keeper
keeping = keeper.prepare()
owner = subprocess.Popen(sys.argv[1:])
keeping.become()
"""

# An owner that tells what happens to it, and exits 7 on SIGTERM.
WAITS = """
import os, signal, sys
def told(number, frame):
    os.write(1, b"got %s\\n" % signal.Signals(number).name.encode())
    if number == signal.SIGTERM:
        os._exit(7)
for name in ("TERM", "INT", "HUP", "USR1", "USR2", "QUIT"):
    signal.signal(getattr(signal, "SIG" + name), told)
os.write(1, b"owner %d\\n" % os.getpid())
while True:
    signal.pause()
"""

# Generation 2 starts generation 3 (argv) and exits; 3 falls to the keeper.
CHAIN = "import subprocess, sys; subprocess.Popen(sys.argv[1:])"

# Generation 2 starts generation 3 (argv), and ends when it is told to.
GIVES_AWAY = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
subprocess.Popen(sys.argv[1:])
while True:
    signal.pause()
"""


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", source, *arguments]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def process_status(pid: int, field: str) -> str:
    """A line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{field}:"))


class Kept:
    """A process that became a keeper, and what its owner said."""

    def __init__(self, argv: list[str], cwd: Path = ROOT) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=cwd)

    def line(self) -> str:
        assert self.process.stdout is not None
        assert readable(self.process.stdout.fileno(), within=PATIENCE), "the owner says nothing"
        return self.process.stdout.readline().strip()

    def wait_until_it_keeps(self) -> None:
        """Until exec is done: the source's own text is gone from the command line."""
        pid = self.keeper_pid()
        eventually(lambda: "waitpid" in cmdline(pid), within=PATIENCE, what="the source becomes a keeper")

    def keeper_pid(self) -> int:
        return self.process.pid

    def end(self) -> int:
        return self.process.wait(PATIENCE)


class KeptAsInit(Kept):
    """The same as PID 1 of a PID namespace: the keeper is what `unshare` forked."""

    def keeper_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(eventually(lambda: children.read_text().split(), within=PATIENCE, what="unshare forks")[0])


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def argv(owner: list[str], source: str = SOURCE) -> list[str]:
    return [sys.executable, "-c", source, *owner]


@pytest.fixture
def kept() -> Iterator[list[Kept]]:
    """All that a test starts; killed at its end with the owners they name."""
    started: list[Kept] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            for pid in [*offspring(one.process.pid), one.process.pid]:
                os.kill(pid, signal.SIGKILL)
        one.process.communicate(timeout=PATIENCE)


def offspring(pid: int) -> list[int]:
    try:
        direct = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [found for child in direct for found in (*offspring(child), child)]


def start(kept: list[Kept], owner: list[str], source: str = SOURCE, cwd: Path = ROOT) -> Kept:
    one = Kept(argv(owner, source), cwd)
    kept.append(one)
    return one


@pytest.mark.parametrize("code", [0, 3, 255])
def test_it_exits_as_the_owner_did(kept: list[Kept], code: int) -> None:
    assert start(kept, shell(f"exit {code}")).end() == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_it_dies_of_the_signal_that_killed_the_owner(kept: list[Kept], number: signal.Signals) -> None:
    assert start(kept, shell(f"kill -{int(number)} $$")).end() == -number


def test_it_forwards_signals_and_waits(kept: list[Kept]) -> None:
    one = start(kept, python(WAITS))
    assert one.line().startswith("owner")
    one.wait_until_it_keeps()
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGINT"):
        os.kill(one.keeper_pid(), getattr(signal, name))
        assert one.line() == f"got {name}"
    os.kill(one.keeper_pid(), signal.SIGTERM)
    assert one.line() == "got SIGTERM"
    assert one.end() == 7


def test_it_can_be_told_from_a_generation(kept: list[Kept]) -> None:
    one = start(kept, python(WAITS))
    one.line()

    def named() -> bool:
        return process_status(one.keeper_pid(), "Name") == "hotswap-keeper"

    eventually(named, within=PATIENCE, what="it has a name of its own")


@pytest.mark.parametrize("interpreter", [sys.executable, "/nonexistent"])
def test_no_signal_is_lost_while_it_becomes_one(kept: list[Kept], interpreter: str) -> None:
    """Nor if the interpreter is gone from the disk, so that the source keeps watch as it is."""
    late = (
        f"import os, signal; keeping._interpreter = {interpreter!r}; "
        "signal.pthread_sigmask(signal.SIG_BLOCK, keeper.FORWARDED); sys.stdin.readline(); "
        "os.kill(os.getpid(), signal.SIGTERM); keeping.become()"
    )
    one = start(kept, python(WAITS), SOURCE.replace("keeping.become()", late))
    assert one.line().startswith("owner")
    assert one.process.stdin is not None
    one.process.stdin.write("\n")
    one.process.stdin.flush()
    assert one.line() == "got SIGTERM"
    assert one.end() == 7


def test_it_keeps_later_generations_too(kept: list[Kept]) -> None:
    one = start(kept, python(CHAIN, *python(WAITS)))
    third = int(one.line().removeprefix("owner "))
    one.wait_until_it_keeps()

    def fell_to_the_keeper() -> bool:
        return int(process_status(third, "PPid")) == one.keeper_pid()

    eventually(fell_to_the_keeper, within=PATIENCE, what="generation 3 falls to the keeper")
    os.kill(one.keeper_pid(), signal.SIGTERM)
    assert one.line() == "got SIGTERM"
    assert one.end() == 7


def test_one_that_falls_to_it_late_is_told_to_end_too(kept: list[Kept]) -> None:
    """The signal came while the generation before was on its way out: else nobody would act on it."""
    one = start(kept, python(GIVES_AWAY, *python(WAITS)))
    assert one.line().startswith("owner")
    one.wait_until_it_keeps()
    os.kill(one.keeper_pid(), signal.SIGTERM)
    assert one.line() == "got SIGTERM"
    assert one.end() == 7


def test_orphans_are_reaped(kept: list[Kept]) -> None:
    """The owner's child ends and leaves a child of its own, which falls to the keeper and ends too."""
    orphaner = "import os\nif os.fork() == 0:\n    if os.fork() == 0: os._exit(9)\n    os._exit(0)\nos.wait()\n"
    one = start(kept, python(orphaner + WAITS))
    one.line()
    one.wait_until_it_keeps()

    def no_zombies() -> bool:
        direct = Path(f"/proc/{one.keeper_pid()}/task/{one.keeper_pid()}/children").read_text().split()
        return not any(process_status(int(pid), "State").startswith("Z") for pid in direct)

    eventually(no_zombies, within=PATIENCE, what="no zombies")


def test_it_needs_nothing_of_the_installed_package(kept: list[Kept], tmp_path: Path) -> None:
    package = tmp_path / "hotswap"
    package.mkdir()
    for file in ("__init__.py", "keeper.py"):
        shutil.copy(ROOT / "hotswap" / file, package / file)
    source = SOURCE.replace("keeping.become()", "import shutil; shutil.rmtree('hotswap'); keeping.become()")
    assert start(kept, shell("exit 5"), source, tmp_path).end() == 5
    assert not package.exists()


def unshare_works() -> bool:
    program = shutil.which("unshare")
    if program is None or os.geteuid() != 0:
        return False
    done = subprocess.run([program, "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    return done.returncode == 0


as_pid_1 = pytest.mark.skipif(not unshare_works(), reason="needs unshare and the permission for a PID namespace")


def start_as_pid_1(kept: list[Kept], owner: list[str]) -> Kept:
    one = KeptAsInit(["unshare", "--pid", "--fork", "--mount-proc", *argv(owner)])
    kept.append(one)
    return one


@as_pid_1
@pytest.mark.parametrize(("script", "code"), [("exit 4", 4), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_as_pid_1_it_exits_as_a_shell_would(kept: list[Kept], script: str, code: int) -> None:
    assert start_as_pid_1(kept, shell(script)).end() == code


@as_pid_1
def test_as_pid_1_it_forwards_signals(kept: list[Kept]) -> None:
    one = start_as_pid_1(kept, python(WAITS))
    assert one.line().startswith("owner")
    one.wait_until_it_keeps()
    os.kill(one.keeper_pid(), signal.SIGHUP)
    assert one.line() == "got SIGHUP"
    os.kill(one.keeper_pid(), signal.SIGTERM)
    assert one.line() == "got SIGTERM"
    assert one.end() == 7


def test_one_keeper_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keeper.VARIABLE, raising=False)
    assert keeper.wanted(asked=True)
    assert not keeper.wanted(asked=False)
    monkeypatch.setenv(keeper.VARIABLE, "123")
    assert not keeper.wanted(asked=True)
    monkeypatch.setenv(keeper.VARIABLE, str(os.getpid()))  # it stood by since it said so
    assert keeper.wanted(asked=True)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert keeper.wanted(asked=False)
