"""Where lines go. The data plane only appends to a queue; a thread writes, so a slow disk or reader holds up nobody.

Lines are collected for INTERVAL and written whole, many at a time, by one write(2) to a descriptor with O_APPEND:
several generations write to one file without tearing each other's lines. What waits is bounded; further lines are
dropped, counted and reported.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import threading
import time
from collections import deque
from typing import Any, Final, Protocol

from hotswap.errors import ConfigError
from hotswap.log import fields

log = logging.getLogger("proxy")

STDOUT: Final = "stdout"
JOURNALD: Final = "journald"
JOURNAL: Final = "/run/systemd/journal/socket"

INTERVAL: Final = 0.2
"""Seconds that lines are collected for."""
MAX_WAITING: Final = 4 << 20
"""Bytes of lines that may wait to be written."""
BATCH: Final = 1 << 18
"""Bytes of one write."""
PIPE_BUF: Final = 4096
"""Bytes that a write to a pipe keeps together, pipe(7)."""
FAREWELL: Final = 5.0
"""Seconds that the end of the process waits for lines to be written."""
REPORT: Final = 10.0
"""Seconds between two reports of dropped lines."""


class Output(Protocol):
    """A target, called from the writing thread only (but for `__init__`)."""

    def write(self, lines: list[bytes]) -> None:
        """Write whole lines; blocks. Raises `OSError`."""

    def reopen(self) -> None:
        """Open it anew by its name. Raises `OSError`, and then goes on with the former."""

    def close(self) -> None:
        """Close it."""


class FileOutput:
    """Appends to a file."""

    def __init__(self, path: str) -> None:
        """Raises `OSError`."""
        self._path = path
        self._fd = self._open()
        self._torn = False

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)

    def write(self, lines: list[bytes]) -> None:
        """See `Output`. A line that the disk had no room for is not continued by the next."""
        data = (b"\n" if self._torn else b"") + b"".join(lines)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        finally:
            if done:
                self._torn = data[done - 1 : done] != b"\n"

    def reopen(self) -> None:
        """See `Output`."""
        fd = self._open()
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        """See `Output`."""
        os.close(self._fd)


class StdoutOutput:
    """Writes to descriptor 1, which others may write to as well: by pieces that a pipe keeps together."""

    def __init__(self, fd: int = 1) -> None:
        """Raises `OSError`."""
        self._fd = fd
        self._piece = BATCH if stat.S_ISREG(os.fstat(fd).st_mode) else PIPE_BUF

    def write(self, lines: list[bytes]) -> None:
        """See `Output`."""
        piece = b""
        for line in lines:
            if piece and len(piece) + len(line) > self._piece:
                self._write(piece)
                piece = b""
            piece += line
        self._write(piece)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody else made it non-blocking
                time.sleep(0.01)

    def reopen(self) -> None:
        """It has no name."""

    def close(self) -> None:
        """It is not ours."""


class JournaldOutput:
    """One datagram a line, in journald's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

    def __init__(self, path: str = JOURNAL) -> None:
        """Raises `OSError`."""
        self._path = path
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock

    def write(self, lines: list[bytes]) -> None:
        """See `Output`. A journald that was restarted listens on a socket of its own."""
        for line in lines:
            datagram = b"MESSAGE=" + line + b"PRIORITY=6\nSYSLOG_IDENTIFIER=hotswap\n"
            try:
                self._socket.send(datagram)
            except OSError:
                self.reopen()
                self._socket.send(datagram)

    def reopen(self) -> None:
        """See `Output`."""
        sock = self._connected()
        self._socket.close()
        self._socket = sock

    def close(self) -> None:
        """See `Output`."""
        self._socket.close()


def open_sink(target: str) -> QueueSink:
    """A sink for ``stdout``, ``journald`` or a path. Raises `ConfigError`."""
    try:
        if target == STDOUT:
            return QueueSink(target, StdoutOutput())
        return QueueSink(target, JournaldOutput() if target == JOURNALD else FileOutput(target))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"access_log: {target} cannot be opened: {reason}; write another target") from None


class QueueSink:
    """Implements `proxy.accesslog.log.Sink`. `put` and the thread share a deque and need no lock."""

    def __init__(self, target: str, output: Output, *, interval: float = INTERVAL, limit: int = MAX_WAITING) -> None:
        self._target = target
        self._output = output
        self._interval = interval
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._put = 0  # bytes, counted by the data plane
        self._taken = 0  # bytes, counted by the thread
        self._dropped = 0  # lines there was no room for
        self._failed = 0  # lines that could not be written
        self._reported = 0
        self._report_at = 0.0
        self._why = ""
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._reopening = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """See `Sink`."""
        if self._put - self._taken + len(line) > self._limit:
            self._dropped += 1
            return
        self._put += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def start(self) -> None:
        """See `Sink`. The file may have been renamed since this process opened it: it has been inert until now."""
        if self._thread is None:
            self._reopening = True
            self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """See `Sink`."""
        self._hurry.set()
        self._wake.set()

    def reopen(self) -> None:
        """See `Sink`."""
        self._reopening = True
        self.flush()

    def close(self) -> None:
        """See `Sink`."""
        self._closing = True
        if self._thread is not None:
            self.flush()
            self._thread.join(FAREWELL)
            if self._thread.is_alive():
                log.error("access log lines were lost at the end", extra=fields(to=self._target))

    def status(self) -> dict[str, Any]:
        """See `Sink`."""
        return {"waiting": self._put - self._taken, "dropped": self._dropped + self._failed}

    # ---- the thread ----

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if not self._closing:
                self._hurry.wait(self._interval)
            closing = self._closing  # before the last look
            self._hurry.clear()
            self._wake.clear()
            if self._reopening:
                self._open_anew()
            self._write_all()
            self._report()
            if closing:
                self._output.close()
                return

    def _write_all(self) -> None:
        lines = self._lines
        while lines:
            batch = []
            size = 0
            while lines and size < BATCH:
                batch.append(lines.popleft())
                size += len(batch[-1])
            try:
                self._output.write(batch)
            except OSError as error:
                self._failed += len(batch)
                self._why = os.strerror(error.errno or errno.EIO)
            self._taken += size

    def _open_anew(self) -> None:
        self._reopening = False
        self._write_all()  # what came before belongs into the former file
        try:
            self._output.reopen()
        except OSError as error:
            reason = os.strerror(error.errno or errno.EIO)
            log.warning("the access log goes on in the former file", extra=fields(to=self._target, reason=reason))

    def _report(self) -> None:
        lost = self._dropped + self._failed
        now = time.monotonic()
        if lost > self._reported and now >= self._report_at:
            reason = self._why or "more than could be written"
            log.warning(
                "access log lines dropped", extra=fields(to=self._target, lines=lost - self._reported, reason=reason)
            )
            self._reported, self._report_at, self._why = lost, now + REPORT, ""
