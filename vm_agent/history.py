"""Every decision with its reason: a line of JSON in a file, and the same in the journal.

``<state>/history.jsonl``, one line an entry, appended by one write(2) so that a reader never sees half of one::

    {"at": 1764349871.2, "name": "edge", "what": "taken back", "text": "error_rate 7.31% ...", "facts": {...}}

At 2 MB the file becomes ``history.jsonl.1``, in place of an older one.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from hotswap.log import fields

log = logging.getLogger("vm_agent")

FILE = "history.jsonl"
_LIMIT = 2 << 20  # bytes
_TAIL = 1 << 20  # bytes looked at for the last entries
_WORST = frozenset(
    {
        "failed",
        "taken back",
        "died",
        "hangs",
        "cannot start",
        "not taken back",
        "stuck",
        "broken spec",
        "does not answer",
    }
)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, or one thing that happened."""

    at: float
    """Seconds since the epoch."""
    name: str
    """The sidecar; empty: the agent."""
    what: str
    """In a word or two: started, upgrading, kept, taken back, failed, died, waiting ..."""
    text: str = ""
    """The reason, for people."""
    facts: dict[str, Any] = {}


class History:
    """The file. Writing never fails a sidecar: what the disk does not take stands in the journal at least."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self._last: dict[tuple[str, str], str] = {}

    def note(self, name: str, what: str, text: str = "", **facts: Any) -> Entry:
        """Write an entry."""
        entry = Entry(at=time.time(), name=name, what=what, text=text, facts=facts)
        said = what if name else what.removeprefix("agent ")  # each line says that it is the agent's
        level = logging.WARNING if what in _WORST or facts.get("severity") == "error" else logging.INFO
        log.log(level, "%s%s%s", f"{name}: " if name else "", said, f": {text}" if text else "", extra=fields(**facts))
        try:
            self._append(_line(entry))
        except OSError as error:
            log.error("the history cannot be written", extra=fields(file=str(self._path), error=error.strerror))  # noqa: TRY400
        return entry

    def note_once(self, name: str, what: str, text: str, **facts: Any) -> None:
        """The same, unless it was said already and nothing else of this kind since."""
        if self._last.get((name, what)) != text:
            self._last[name, what] = text
            self.note(name, what, text, **facts)

    def entries(self, name: str = "", limit: int = 200) -> list[Entry]:
        """The last ones, oldest first. Lines that are none are left out."""
        found: deque[Entry] = deque(maxlen=limit)
        for path in (self._path.with_name(f"{FILE}.1"), self._path):
            for line in _tail(path):
                try:
                    entry = msgspec.json.decode(line, type=Entry)
                except msgspec.DecodeError:
                    continue
                if not name or entry.name == name:
                    found.append(entry)
        return list(found)

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size > _LIMIT:
                self._path.replace(self._path.with_name(f"{FILE}.1"))
                os.close(descriptor)
                descriptor = os.open(self._path, flags, 0o600)
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def _line(entry: Entry) -> bytes:
    """What JSON has no words for, as the name of a file that is no UTF-8, is told as well as it can be."""
    try:
        return msgspec.json.encode(entry) + b"\n"
    except (UnicodeEncodeError, TypeError, OverflowError):
        text, facts = (repr(one).encode(errors="replace").decode() for one in (entry.text, entry.facts))
        name = entry.name.encode(errors="replace").decode()
        return (
            msgspec.json.encode(Entry(at=entry.at, name=name, what=entry.what, text=text, facts={"all": facts})) + b"\n"
        )


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            lines = stream.read(_TAIL).splitlines()
    except OSError:
        return []
    return lines[1:] if size > _TAIL else lines
