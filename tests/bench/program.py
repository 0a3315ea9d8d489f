"""A program in C that makes load: compiled when it is needed, told what to do by lines, and it answers in JSON."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.kit.waiting import readable

BUILD = Path(__file__).parent / "build"
PATIENCE = 60.0  # seconds for any answer


def compiled(name: str, sources: Sequence[Path], headers: Sequence[Path] = (), libraries: Sequence[str] = ()) -> Path:
    """The program, which is compiled unless these very sources were before."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, *headers])).hexdigest()[:16]
    program = BUILD / f"{name}-{digest}"
    if not program.exists():
        BUILD.mkdir(exist_ok=True)
        fresh = program.with_suffix(".new")
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", fresh, *sources, *libraries], check=True)
        fresh.rename(program)
    return program


class Program:
    """One that runs. A context manager."""

    def __init__(self, argv: Sequence[object]) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it, and with it every connection."""
        self._process.kill()
        self._process.communicate()

    def say(self, command: str) -> None:
        """One line."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    @property
    def spoke(self) -> bool:
        """`expect` would not wait."""
        assert self._process.stdout is not None
        return readable(self._process.stdout.fileno(), within=0)

    def expect(self, event: str) -> dict[str, Any]:
        """The next thing that it says, which must be that. Raises `TimeoutError`, and `EOFError` if it ended."""
        assert self._process.stdout is not None
        # One line is awaited at a time, so none is left in the buffer of the text layer.
        if not readable(self._process.stdout.fileno(), within=PATIENCE):
            raise TimeoutError(f"the load generator said nothing: {event} was awaited")
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"the load generator ended, with {self._process.wait()}: {event} was awaited")
        answer = msgspec.json.decode(line, type=dict[str, Any])
        assert answer["event"] == event, answer
        return answer
