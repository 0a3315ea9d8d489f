"""Programs that nobody here wrote: found, or the test is skipped; run, spoken to through their pipes, ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.kit.http import Closed
from tests.kit.waiting import Deadline, eventually, readable

PATIENCE = 20.0


def program(name: str) -> str:
    """The path of a program, or a skip."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


class Piped:
    """A running program: `send` goes to its stdin, `more` comes from its stdout, its stderr into a file.

    A context manager that ends it, whatever it is doing.
    """

    def __init__(self, argv: list[str], log: Path) -> None:
        self.argv = argv
        self.log = log
        self.unread = b""
        with log.open("wb") as stderr:
            # Unbuffered: what was sent has left this process, also when the other one ends.
            self.process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def send(self, data: bytes) -> None:
        """All of it. Raises `BrokenPipeError` if the program ended."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.stdin.write(rest) :]

    def more(self) -> bytes:
        """At least one more byte into `unread`; empty if the program ended its output. Raises `TimeoutError`."""
        if not readable(self.stdout.fileno(), within=PATIENCE):
            raise TimeoutError(f"{self.argv[0]} says nothing")
        data = os.read(self.stdout.fileno(), 1 << 16)
        self.unread += data
        return data

    def take(self, count: int) -> bytes:
        """Exactly so many bytes. Raises `Closed`."""
        deadline = Deadline(PATIENCE)
        while len(self.unread) < count:
            if not self.more() or deadline.passed:
                raise Closed(f"{self.argv[0]} ended: {self.told()[-300:]}")
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def told(self) -> str:
        """What it wrote to its log so far."""
        return self.log.read_text(errors="replace")

    def wait_told(self, text: str, *, times: int = 1) -> None:
        """Until its log has this text so many times. Raises `Late`."""
        eventually(lambda: self.told().count(text) >= times, within=PATIENCE, what=f"{self.argv[0]} tells {text!r}")

    def finish(self) -> int:
        """End its input and wait until it ends by itself; its exit code."""
        self.stdin.close()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
