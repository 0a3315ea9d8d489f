"""Bolt peers that nobody here wrote: sofa-rpc-node from npm, client and server, and anthunder from PyPI, client.

They are installed on demand into `.cache/peers` of the tree, once. `Absent` says why one cannot be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.kit.companion import ROOT
from tests.kit.waiting import Deadline, readable

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "peers"
NODE_PACKAGE = "sofa-rpc-node@2.10.0"
PYTHON_PACKAGE = "anthunder==0.8.1"
PATIENCE = 240.0  # seconds for an installation


class Absent(Exception):
    """A peer that is not there and could not be installed."""


class Report(msgspec.Struct):
    """What a client saw, or a server. `idle`: connections that a server closed for their silence."""

    calls: int
    failures: list[str]
    idle: int = 0


def node(packages: Sequence[str] = (NODE_PACKAGE,), last: str = "sofa-rpc-node") -> list[str]:
    """The command line of node, with packages where it finds them; `last` is one of them. Raises `Absent`."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise Absent("node and npm are not installed")
    folder = CACHE / "node"
    if not (folder / "node_modules" / last).exists():
        install([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *packages], folder)
    return [program]


def anthunder() -> list[str]:
    """The command line of the Python that has it. Raises `Absent`."""
    folder = CACHE / "python"
    if not (folder / "anthunder").exists():
        install([sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), PYTHON_PACKAGE], folder)
    return [sys.executable]


def install(argv: list[str], folder: Path) -> None:
    """Run the installer. Raises `Absent`."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise Absent(f"{argv[-1]} cannot be installed: {done.stderr[-300:]}")


class Peer:
    """A running peer: it says when it is ready, and ends at the end of its stdin. A context manager.

    `script` is a file of this folder, or a path.
    """

    def __init__(self, program: list[str], script: str, *arguments: object) -> None:
        paths = {"NODE_PATH": str(CACHE / "node" / "node_modules"), "PYTHONPATH": str(CACHE / "python")}
        self._process = subprocess.Popen(
            [*program, str(HERE / script), *map(str, arguments)],
            env={**os.environ, **paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._unread = b""

    def wait(self) -> Self:
        """Until it is ready."""
        line = self.line()
        assert line == b"ready", line
        return self

    def line(self, within: float = 30.0) -> bytes:
        """The next line it prints."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        deadline = Deadline(within)
        while b"\n" not in self._unread:
            assert readable(fd, within=deadline.remaining), "a peer says nothing"
            data = os.read(fd, 1 << 16)
            assert data, "a peer ended"
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def finish(self) -> Report:
        """Let it end its calls; what it saw."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return msgspec.json.decode(self.line(), type=Report)

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
