"""Logging for a process that must not wait: text for people or JSON lines, on standard error.

Modules log as usual, with fields apart from the message::

    logger.info("listening", extra=fields(listener="web", address=address))

A full pipe behind standard error never stops the server: a line is written only when the kernel can
take it at once (poll(2) promises PIPE_BUF bytes), the rest waits in a bounded backlog, and what
does not fit there is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque
from typing import Any, Literal

import msgspec

LogFormat = Literal["text", "json"]

PIECE = select.PIPE_BUF  # what a writable pipe takes without blocking
BACKLOG_LIMIT = 1024 * 1024  # bytes that may wait for a slow reader
FAREWELL_SECONDS = 1.0  # that the end of the process waits for the backlog
STRANGERS_LIMIT = 1024
COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31;1m"}
DIM, RESET = "\x1b[2m", "\x1b[0m"


def fields(**values: Any) -> dict[str, Any]:
    """The `extra` argument of a logging call: key=value pairs apart from the message."""
    return {"fields": values}


class Once:
    """Says yes once for each key, so that what repeats is logged once.

    After `forget_seconds` a key counts as new, and so do all once there are too many of them.
    """

    __slots__ = ("_forget_seconds", "_seen")

    def __init__(self, forget_seconds: float = 3600.0) -> None:
        self._forget_seconds = forget_seconds
        self._seen: dict[object, float] = {}

    def first(self, key: object, now: float | None = None) -> bool:
        """Whether to log this key now."""
        now = time.monotonic() if now is None else now
        last = self._seen.get(key)
        if last is not None and now - last < self._forget_seconds:
            return False
        if len(self._seen) >= STRANGERS_LIMIT:
            self._seen.clear()
        self._seen[key] = now
        return True


class Origin:
    """What every line says about the process it comes from."""

    __slots__ = ("generation", "name")

    def __init__(self, name: str = "", generation: int = 0) -> None:
        self.name = name
        self.generation = generation


ORIGIN = Origin()  # of this process


class TextFormatter(logging.Formatter):
    """``12:00:00.123 INFO  edge#4 listening  listener=web address=127.0.0.1:8080``."""

    def __init__(self, origin: Origin, *, colours: bool) -> None:
        super().__init__()
        self._origin = origin
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback below it if there is one."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        number = f"#{self._origin.generation}" if self._origin.generation else ""
        who = f"{self._origin.name}{number} " if self._origin.name else ""
        level = f"{record.levelname:<7}"
        if self._colours and record.levelno in COLOURS:
            level = f"{COLOURS[record.levelno]}{level}{RESET}"
        pairs = " ".join(f"{key}={_shown(value)}" for key, value in _fields_of(record).items())
        if pairs:
            pairs = f"  {DIM}{pairs}{RESET}" if self._colours else f"  {pairs}"
        line = f"{clock}.{int(record.msecs):03d} {level} {who}{_one_line(record.getMessage())}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, name, generation, logger, message, the fields."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self._origin = origin

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "name": self._origin.name,
            "generation": self._origin.generation,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        for key, value in _fields_of(record).items():
            line.setdefault(key, value)
        return msgspec.json.encode(line, enc_hook=str).decode()


class Output(logging.Handler):
    """Writes lines to a descriptor without ever waiting for its reader."""

    def __init__(self, fd: int, backlog_limit: int = BACKLOG_LIMIT) -> None:
        super().__init__()
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._backlog: deque[bytes] = deque()
        self._waiting = 0
        self._limit = backlog_limit
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record now, later, or never; never wait."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:  # noqa: BLE001  a log line never breaks the code that writes it
            self.handleError(record)
            return
        if self._waiting + len(line) > self._limit:
            self._write_waiting(0)
        if self._waiting + len(line) > self._limit:
            self.dropped += 1
            return
        if self.dropped:
            line = b"... %d log lines dropped here: nobody read them in time\n%b" % (self.dropped, line)
            self.dropped = 0
        self._queue(line)
        self._write_waiting(0)

    def flush(self) -> None:
        """Wait a moment for the reader; for the end of the process."""
        self._write_waiting(FAREWELL_SECONDS)

    def _queue(self, line: bytes) -> None:
        self._waiting += len(line)
        if self._backlog and len(self._backlog[-1]) + len(line) <= PIECE:
            self._backlog[-1] += line
        else:
            self._backlog.extend(line[start : start + PIECE] for start in range(0, len(line), PIECE))

    def _write_waiting(self, patience: float) -> None:
        while self._backlog:
            if not self._poll.poll(patience * 1000):
                return
            try:
                written = os.write(self._fd, self._backlog[0])
            except BlockingIOError:
                return  # somebody else made it non-blocking, and filled it
            except OSError:
                self._backlog.clear()  # nobody reads any more
                self._waiting = 0
                return
            self._waiting -= written
            if written == len(self._backlog[0]):
                self._backlog.popleft()
            else:
                self._backlog[0] = self._backlog[0][written:]


def say_who(name: str, generation: int) -> None:
    """Every line from here on names this generation; 0 while it has no number yet."""
    ORIGIN.name, ORIGIN.generation = name, generation


def set_up(log_format: LogFormat = "text", level: str = "info", *, fd: int = 2) -> None:
    """Send everything that is logged to `fd`."""
    output = Output(fd)
    colours = os.isatty(fd) and "NO_COLOR" not in os.environ
    output.setFormatter(JsonFormatter(ORIGIN) if log_format == "json" else TextFormatter(ORIGIN, colours=colours))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(output)
    root.setLevel(level.upper())


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "fields", {})
    return found


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    plain = text and text.isprintable() and not set(text) & set(' "=')
    return text if plain else msgspec.json.encode(text).decode()


def _one_line(text: str) -> str:
    """A message may quote what a stranger sent: no line breaks, no terminal escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
