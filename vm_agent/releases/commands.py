"""Programs that an installation runs: in a process group of their own, which ends with the installation."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from vm_agent.errors import ReleaseError

_KEPT = 16 << 10  # bytes of output
_LINES = 12
_ELSEWHERE = "subprocess-exited-with-error"  # pip, of a build whose output stands above it
_PIECE = 1 << 16
_PIECES = 32  # more than a pipe holds

# All that a program is told of our environment; the rest is between the agent and whoever started it.
_PASSED = (
    "PATH",
    "HOME",
    "TZ",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)


def environment(inherited: Mapping[str, str], scratch: Path, *, configured_pip: bool) -> dict[str, str]:
    """What the programs get. Without `configured_pip` pip sees none of its variables and configuration files."""
    passed = {name: inherited[name] for name in _PASSED if name in inherited}
    if configured_pip:
        passed |= {name: value for name, value in inherited.items() if name.startswith("PIP_")}
    else:
        passed["PIP_CONFIG_FILE"] = os.devnull
    passed.setdefault("PATH", os.defpath)
    return {**passed, "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)}


class Commands:
    """Runs them one after the other."""

    def __init__(self, directory: Path, environment: Mapping[str, str], lock: int) -> None:
        self._directory = directory
        self._environment = environment
        self._lock = lock

    async def run(self, argv: Sequence[str]) -> tuple[int, str]:
        """Exit code (negative: the signal) and the end of the output. Raises `ReleaseError` if it cannot be started.

        The program inherits the lock of the store: if the agent is killed, nobody touches what it still works on.
        """
        # A pipe of our own: asyncio's would keep us waiting for whoever else holds its other end.
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        output = _Output(reader)
        try:
            try:
                process = await self._start(argv, writer)
            except OSError as error:
                raise ReleaseError(f"{argv[0]} cannot be started: {error.strerror}") from None
            finally:
                os.close(writer)
            return await self._watch(process, output), output.text()
        finally:
            os.close(reader)

    async def _start(self, argv: Sequence[str], writer: int) -> asyncio.subprocess.Process:
        os.set_blocking(writer, True)  # programs expect that
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            cwd=self._directory,
            env=dict(self._environment),
            umask=0o022,
            process_group=0,
            pass_fds=(self._lock,),
        )

    async def _watch(self, process: asyncio.subprocess.Process, output: _Output) -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(output.fd, lambda: output.read() or loop.remove_reader(output.fd))
        try:
            return await process.wait()
        finally:
            loop.remove_reader(output.fd)
            if process.returncode is None or output.drain():  # it, or what it left behind
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a killed process, whoever cancels us meanwhile: its files are removed next."""
    waiting = asyncio.ensure_future(process.wait())
    cancelled: asyncio.CancelledError | None = None
    while not waiting.done():
        try:
            await asyncio.wait({waiting})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


class _Output:
    """The end of what comes out of a pipe."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._kept = b""

    def read(self) -> bool:
        """Take what is there. False: nobody can write any more."""
        piece = os.read(self.fd, _PIECE)
        self._kept = (self._kept + piece)[-_KEPT:]
        return bool(piece)

    def drain(self) -> bool:
        """Take what the program left in the pipe. True: somebody else holds it."""
        for _ in range(_PIECES):
            try:
                if not self.read():
                    return False
            except BlockingIOError:
                break
        return True

    def text(self) -> str:
        return self._kept.decode(errors="replace")


def complaint(output: str) -> str:
    """What pip says went wrong, without all that went well before it; of what else it runs, the end of the output."""
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    return last_lines("\n".join(errors) if errors and _ELSEWHERE not in output else output)


def last_lines(output: str) -> str:
    """The end of what a program said, indented, without what controls a terminal."""
    lines = ["".join(sign for sign in line if sign.isprintable()) for line in output.splitlines()]
    return "\n".join(f"    {line}" for line in [line for line in lines if line.strip()][-_LINES:])
