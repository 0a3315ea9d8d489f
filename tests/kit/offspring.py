"""Every process a test caused, found and ended.

Generations start generations, and the first ones are gone by the time a test fails. So every process inherits
a token in its environment, by which it is found, and orphans come to the test process, which is their
subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) and so can tell how they ended. Nothing is ever killed by name.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import prctl

from tests.kit.companion import ROOT
from tests.kit.waiting import Deadline, Late, eventually

VARIABLE = "HOTSWAP_TEST_TOKEN"


class Offspring:
    """The processes of one test. `environment` makes a process, and what it starts, belong to it."""

    def __init__(self) -> None:
        prctl.set_child_subreaper(1)
        self.token = uuid.uuid4().hex
        self._first: list[subprocess.Popen[bytes]] = []
        self._ended: dict[int, int] = {}  # pid: status as from waitpid
        # The sentry ends the others if this process is killed before it can.
        argv = [sys.executable, "-m", "tests.kit.offspring", self.token]
        self._sentry = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)

    @property
    def environment(self) -> dict[str, str]:
        """For every process that shall be found."""
        return {**os.environ, VARIABLE: self.token}

    def start(self, argv: list[str], *, env: dict[str, str], cwd: Path, stderr: Path) -> int:
        """Start a process in a session of its own; its stderr is appended to a file. Returns the pid."""
        with stderr.open("ab") as log:
            process = subprocess.Popen(
                argv,
                env={**env, VARIABLE: self.token},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._first.append(process)
        return process.pid

    def living(self) -> list[int]:
        """The pids of all processes that carry the token, zombies not among them."""
        return with_token(self.token)

    def status(self, pid: int, *, within: float) -> int:
        """Wait for the end of a process; its exit code, negative for a signal. Raises `Late`.

        Works for the processes started here and for orphans; raises `ChildProcessError` for one whose own
        source still lives and waits for it.
        """
        if pid not in self._ended:
            wait_for_end(pid, within=within)
            _, status = os.waitpid(pid, 0)
            self._ended[pid] = status
            for process in self._first:
                if process.pid == pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
        return os.waitstatus_to_exitcode(self._ended[pid])

    def end(self) -> list[int]:
        """Kill whatever is left, until nothing is; the pids there were."""
        found: list[int] = []
        deadline = Deadline(10)
        while living := self.living():
            assert not deadline.passed, f"processes {living} do not end"
            found += [pid for pid in living if pid not in found]
            for pid in living:
                kill(pid, signal.SIGKILL)
            for pid in living:
                wait_for_end(pid, within=deadline.remaining)
                _reap(pid)
        for process in self._first:
            process.wait()
        assert self._sentry.stdin is not None
        self._sentry.kill()
        self._sentry.wait()
        self._sentry.stdin.close()
        return found


def with_token(token: str) -> list[int]:
    """All living processes with this token in their environment."""
    wanted = f"{VARIABLE}={token}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except (OSError, ProcessLookupError):
                continue  # gone meanwhile, a zombie, or somebody else's
    return sorted(found)


def kill(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def wait_for_end(pid: int, *, within: float) -> None:
    """Wait until a process ended. Raises `Late`."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(within * 1000):
            raise Late(f"process {pid} did not end within {within:g} s")
    finally:
        os.close(pidfd)


def wait_for_stop(pid: int, *, within: float) -> None:
    """Wait until a process is stopped by SIGSTOP. Raises `Late`."""
    eventually(lambda: run_state(pid) in "Tt", within=within, what=f"process {pid} stops")


def run_state(pid: int) -> str:
    """The letter in /proc/PID/stat: R, S, T, Z ...; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "-"
    return stat.rpartition(")")[2].split()[0]


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not ours to wait for


def sentry(token: str) -> None:
    """Wait until the test process is gone; then kill all that carry the token."""
    sys.stdin.buffer.read()
    while living := with_token(token):
        for pid in living:
            kill(pid, signal.SIGKILL)
        for pid in living:
            wait_for_end(pid, within=5)


if __name__ == "__main__":
    sentry(sys.argv[1])
