"""Every process a test caused, found and ended.

Generations start generations, and the first ones are gone by the time a test fails. So every process inherits
a token in its environment, by which it is found, and orphans come to the test process, which is their
subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) and so can tell how they ended. Nothing is ever killed by name.

A process that may not be dumped (PR_SET_DUMPABLE), as a proxy with TLS, shows its environment to nobody but root, and
an agent gives its sidecars an environment of their own. They are known by their command lines, if those name something
in the test's folder.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Collection
from pathlib import Path

import prctl

from tests.kit.companion import ROOT
from tests.kit.waiting import Deadline, Late, eventually

VARIABLE = "HOTSWAP_TEST_TOKEN"


class Offspring:
    """The processes of one test. `environment` makes a process, and what it starts, belong to it.

    `folder` is a path that no process of anybody else has in its command line.
    """

    def __init__(self, folder: Path | None = None) -> None:
        prctl.set_child_subreaper(1)
        self.token = uuid.uuid4().hex
        self.folder = str(folder or "")
        self._first: list[subprocess.Popen[bytes]] = []
        self._ended: dict[int, int] = {}  # pid: status as from waitpid
        # The sentry ends the others if this process is killed before it can.
        argv = [sys.executable, "-m", "tests.kit.offspring", self.token, self.folder]
        self._sentry = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)

    @property
    def environment(self) -> dict[str, str]:
        """For every process that shall be found."""
        return {**os.environ, VARIABLE: self.token}

    def start(
        self, argv: list[str], *, env: dict[str, str], cwd: Path, stderr: Path, pass_fds: Collection[int] = ()
    ) -> int:
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
                pass_fds=pass_fds,
            )
        self._first.append(process)
        return process.pid

    def living(self) -> list[int]:
        """The pids of all processes that carry the token, zombies not among them."""
        return with_token(self.token, self.folder)

    def status(self, pid: int, *, within: float) -> int:
        """Wait for the end of a process; its exit code, negative for a signal. Raises `Late`.

        Works for the processes started here and for orphans, also for one whose source is not quite gone yet;
        raises `ChildProcessError` for one whose own source still lives and waits for it.
        """
        if pid not in self._ended:
            deadline = Deadline(within)
            wait_for_end(pid, within=deadline.remaining)
            wait_for_adoption(pid, within=deadline.remaining)
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
            process.kill()  # one that is in the middle of execve(2) shows no environment, and so was not found
            process.wait()
        assert self._sentry.stdin is not None
        self._sentry.kill()
        self._sentry.wait()
        self._sentry.stdin.close()
        return found


def with_token(token: str, folder: str = "") -> list[int]:
    """All living processes with this token in their environment, or with something in this folder in their argv."""
    wanted = f"{VARIABLE}={token}".encode()
    numbers = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(int(entry.name) for entry in numbers if _has(entry, wanted) or (folder and _names(entry, folder)))


def _has(entry: Path, wanted: bytes) -> bool:
    try:
        return wanted in (entry / "environ").read_bytes().split(b"\0")
    except OSError:  # somebody else's, one that may not be dumped, gone meanwhile, or a zombie
        return False


def _names(entry: Path, folder: str) -> bool:
    try:
        return f"{folder}/".encode() in (entry / "cmdline").read_bytes()
    except OSError:
        return False


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


def wait_for_adoption(pid: int, *, within: float) -> None:
    """Wait while the source of a process is exiting, until that gave its children away. Raises `Late`.

    A source is not among the living from the moment it gave up its memory, and gives its children to the subreaper
    only later on its way out, so somebody who saw it leave may be here first.
    """

    def settled() -> bool:
        source = source_of(pid)
        return source in {None, os.getpid()} or has_memory(source)

    eventually(settled, within=within, what=f"the source of process {pid} gives it away")


def wait_for_stop(pid: int, *, within: float) -> None:
    """Wait until a process is stopped by SIGSTOP. Raises `Late`."""
    eventually(lambda: run_state(pid) in "Tt", within=within, what=f"process {pid} stops")


def run_state(pid: int) -> str:
    """The letter in /proc/PID/stat: R, S, T, Z ...; empty if there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else "-"


def source_of(pid: int) -> int | None:
    """The parent of a process, a zombie included; None if there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def has_memory(pid: int) -> bool:
    """Whether a process runs: one that exits gives up its memory first, and with it its environment."""
    try:
        return bool(Path(f"/proc/{pid}/environ").read_bytes())
    except PermissionError:
        return True  # somebody else's
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """State, parent and what else follows the name in proc_pid_stat(5); empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # not ours to wait for


def sentry(token: str, folder: str) -> None:
    """Wait until the test process is gone; then kill all that carry the token."""
    sys.stdin.buffer.read()
    while living := with_token(token, folder):
        for pid in living:
            kill(pid, signal.SIGKILL)
        for pid in living:
            wait_for_end(pid, within=5)


if __name__ == "__main__":
    sentry(sys.argv[1], sys.argv[2])
