"""What a sidecar of the agent's own writes to its standard streams: a file that outlives the agent, and stays small.

A pipe to the agent would break when the agent ends, and a sidecar that writes to it with it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

LIMIT = 8 * 1024 * 1024
"""Bytes, after which the file begins anew; what was there before stays once, as NAME.log.1."""
LAST_LINES = 8
LAST_BYTES = 2048


class Output:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def open(self) -> BinaryIO:
        """To append to. Raises `OSError`."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.path, flags, 0o600), "ab", buffering=0)

    def mark(self) -> None:
        """`last` is about what is written from here on."""
        self._mark = self._size()

    def last(self) -> str:
        """The last lines since the mark; empty if there are none."""
        try:
            with self.path.open("rb") as file:
                size = self._size()
                file.seek(max(self._mark if self._mark <= size else 0, size - LAST_BYTES))
                text = file.read(LAST_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        lines = ["".join(one for one in line if one.isprintable()) for line in text.splitlines()]
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:] if line.strip())

    def trim(self) -> None:
        """Begin anew if it is too long. Whoever has it open for appending goes on at its new end."""
        if self._size() <= LIMIT:
            return
        with contextlib.suppress(OSError):
            text = self.path.read_bytes()
            kept = self.path.with_name(f"{self.path.name}.1")
            with contextlib.suppress(FileNotFoundError):
                kept.unlink()
            with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(text[-LIMIT:])
            os.truncate(self.path, 0)
            self._mark = 0

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0
