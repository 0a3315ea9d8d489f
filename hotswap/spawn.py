"""Starting the next generation, and hearing why it failed if it did.

The new process inherits the write end of a report pipe, in ``HOTSWAP_REPORT_FD``: a generation that
gives up writes one JSON line there, ``{"code": 3, "message": "..."}``, so that `hotswap upgrade` can
say more than "it ended with exit code 3". ``HOTSWAP_TOKEN`` lets the source recognise it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from hotswap import turns
from hotswap.errors import DestinationFailed, HotswapError, error_of

TOKEN_VARIABLE = "HOTSWAP_TOKEN"  # noqa: S105  a name, no secret
REPORT_VARIABLE = "HOTSWAP_REPORT_FD"
_REPORT_LIMIT = 64 * 1024  # bytes


class Report(msgspec.Struct):
    """Why a generation gave up."""

    code: int
    message: str


class Spawned:
    """A process this generation started to be its successor."""

    def __init__(self, command: Sequence[str], cwd: str) -> None:
        """Start it. Raises `DestinationFailed` if it cannot be executed."""
        self.token = os.urandom(16).hex()
        self._report, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        environment = {**os.environ, TOKEN_VARIABLE: self.token, REPORT_VARIABLE: str(write_end)}
        try:
            with turns.long_ones():
                self.pid = _start(command, cwd, environment, write_end)
        except (OSError, ValueError) as error:
            os.close(self._report)
            why = getattr(error, "strerror", None) or error
            raise DestinationFailed(f"{command[0]} cannot be started in {cwd}: {why}") from None
        finally:
            os.close(write_end)
        self.pidfd = os.pidfd_open(self.pid)
        self._status: int | None = None

    def _poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else was told
                self._status = 0
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    @property
    def running(self) -> bool:
        """Not ended, or not reaped yet."""
        return self._poll() is None

    def kill(self) -> None:
        """SIGKILL; it may hold the byte or hang, so it gets no say."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def failure(self) -> HotswapError:
        """Why it ended: its own words if it left any. Call it once it has ended."""
        status = self._poll()
        try:
            text = os.read(self._report, _REPORT_LIMIT)
        except OSError:
            text = b""
        if text:
            with contextlib.suppress(msgspec.DecodeError):
                report = msgspec.json.decode(text, type=Report)
                return error_of(report.code, f"the new generation gave up: {report.message}")
        how = (
            f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with exit code {status}"
        )
        return DestinationFailed(f"the new generation {how} and said no reason; look at {_log_of(self.pid)}")

    def close(self) -> None:
        """Let go of it; it lives on, and is not ours to wait for any more, or to kill: its pidfd may be another's."""
        self._status = self._poll() or 0
        for fd in (self._report, self.pidfd):
            with contextlib.suppress(OSError):
                os.close(fd)


def _start(command: Sequence[str], cwd: str, environment: Mapping[str, str], kept: int) -> int:
    """The pid of a new process, which inherits `kept` and the standard streams but for input. Raises `OSError`.

    `subprocess` returns only when the new program has closed what it inherited: with 18,000 connections, 4 ms in which
    nobody is served. posix_spawn(3) returns when it begins to, after 0.8.
    """
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, kept, kept)]
    ignored_by_python = (signal.SIGPIPE, signal.SIGXFSZ)
    with contextlib.ExitStack() as back:
        if not Path(cwd).samefile("."):
            here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            back.callback(os.close, here)
            back.callback(os.fchdir, here)
            os.chdir(cwd)
        return os.posix_spawnp(command[0], [*command], environment, file_actions=actions, setsigdef=ignored_by_python)


def keep_to_ourselves() -> None:
    """What this process was started with, beside the standard streams, goes to none that it starts."""
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208  one of them is what is read here, and closed by then
        with contextlib.suppress(OSError):
            os.set_inheritable(int(entry), int(entry) <= 2)


def _log_of(pid: int) -> str:
    """Where to look for what a process wrote to standard error, which is the same as ours: for people."""
    try:
        state, target = os.fstat(2), Path("/proc/self/fd/2").readlink()
    except OSError:  # there is none
        return "its log"
    if os.environ.get("JOURNAL_STREAM") == f"{state.st_dev}:{state.st_ino}":  # systemd.exec(5)
        return f"its log: journalctl _PID={pid}"
    return f"its log: {target}" if stat.S_ISREG(state.st_mode) else "its log"


class Bystander:
    """A process that does nothing until `end`. Raises `OSError` if it cannot be started."""

    def __init__(self) -> None:
        idle = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
        self._process = subprocess.Popen(idle, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.pid = self._process.pid

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def inherited_token() -> str:
    """The token of the upgrade that started this process, if one did; taken out of the environment."""
    return os.environ.pop(TOKEN_VARIABLE, "")


def inherited_report() -> int:
    """The report pipe, or -1; taken out of the environment and made close-on-exec."""
    text = os.environ.pop(REPORT_VARIABLE, "")
    try:
        fd = int(text)
        os.set_inheritable(fd, False)
    except (ValueError, OverflowError, OSError):
        return -1
    return fd


def report(fd: int, failure: HotswapError) -> None:
    """Tell whoever spawned this process why it gives up."""
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.write(fd, msgspec.json.encode(Report(failure.exit_code, str(failure)[:8000])) + b"\n")


def own_command() -> list[str]:
    """The command line that starts this program again."""
    return [sys.executable, *sys.orig_argv[1:]]


def on_death(loop: asyncio.AbstractEventLoop, pidfd: int, then: Callable[[], object]) -> None:
    """Call `then` once that process is dead. The pidfd is closed."""

    def dead() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        then()

    loop.add_reader(pidfd, dead)
