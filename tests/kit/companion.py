"""A process that belongs to one test and is spoken to in JSON lines.

It runs a module of the kit, answers on its stdout, and ends at the end of its stdin, so it never outlives
the test, not even one that was killed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.kit.waiting import Deadline, Late, readable

ROOT = Path(__file__).resolve().parents[2]


class Companion:
    """The test's side: start the module, ask, get answers before a deadline, stop."""

    def __init__(self, module: str, spec: msgspec.Struct, through: Sequence[str] = ()) -> None:
        """`through`: a command line that runs the rest of it elsewhere, and becomes it, as nsenter(1) does."""
        self.module = module
        argv = [*through, sys.executable, "-m", module, msgspec.json.encode(spec).decode()]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._unread = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, question: dict[str, Any], *, within: float) -> bytes:
        """Send one line, return the line that answers it."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(question) + b"\n")
        self._process.stdin.flush()
        return self.line(within=within)

    def line(self, *, within: float) -> bytes:
        """The next line it writes. Raises `Late`, or `AssertionError` if it ended instead."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        deadline = Deadline(within)
        while b"\n" not in self._unread:
            if not readable(fd, within=deadline.remaining):
                raise Late(f"{self.module} did not answer within {within:g} s")
            data = os.read(fd, 1 << 16)
            if not data:
                raise AssertionError(f"{self.module} ended with status {self._process.wait()}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def say(answer: msgspec.Struct) -> None:
    """The companion's side: write one answer."""
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


async def converse(answer: Callable[[dict[str, Any]], Awaitable[msgspec.Struct]]) -> None:
    """The companion's side: answer every question, one after the other, until stdin ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        say(await answer(msgspec.json.decode(line, type=dict[str, Any])))
