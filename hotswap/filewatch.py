"""Tells when files change: inotify(7) for an event loop, no polling.

Directories are watched, not files: editors and renewals put a new file in the place of the old one. And not only the
directory that a path names: Kubernetes exchanges a symbolic link in the middle of it,

    /etc/tls/tls.crt -> ..data/tls.crt        ..data -> ..2026_11_28_12_00_00.1     another one a minute later

so every link on the way has its own directory watched for it, and what is missing that in which it should appear.
Only names that matter count. A watch says that something may have changed: whoever is told compares.

    event of inotify: { int wd; uint32_t mask, cookie, len; char name[len]; }, the name padded by zeros
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import struct
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hotswap.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PAUSE: Final = 0.2
"""Seconds from a change to the call: certificate and key are written one after the other."""
MOST_LINKS: Final = 40
"""Symbolic links that are followed for one path, as many as the kernel follows: path_resolution(7)."""
ANY: Final = "/"
"""In place of a name: no name can be this."""

# include/uapi/linux/inotify.h
_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE = 0x4, 0x8, 0x40, 0x80, 0x100
_DELETE, _DELETE_SELF, _MOVE_SELF, _Q_OVERFLOW, _ONLYDIR = 0x200, 0x400, 0x800, 0x4000, 0x01000000
_MASK: Final = (
    _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
)
_EVENT: Final = struct.Struct("iIII")
_CHUNK: Final = 65536

_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger("hotswap")


class Watch(Protocol):
    """Calls when files may have changed; what it was made with is the call."""

    def follow(self, paths: Iterable[str]) -> None:
        """These absolute paths from now on."""

    def start(self) -> None:
        """Watch. One call comes soon in any case."""

    def stop(self) -> None:
        """No call from here on."""


class Watching:
    """Has files watched while this generation owns and ticks."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._running = False

    def start(self) -> None:
        """This generation owns and ticks."""
        if not self._running:
            self._running = True
            self._watch.start()

    def stop(self) -> None:
        """It does not, or not now."""
        if self._running:
            self._running = False
            self._watch.stop()


class FileWatch:
    """Implements `Watch`. With nothing to follow it needs no loop.

    `remedy` tells people what to do where the kernel has no watches left.
    """

    def __init__(self, changed: Callable[[], None], remedy: str = "`hotswap reload` reads them") -> None:
        self._changed = changed
        self._remedy = remedy
        self._paths: tuple[str, ...] = ()
        self._inside: tuple[str, ...] = ()
        self._fd = -1
        """Of inotify, from the first start with paths on. It stays open when the watch stops: closing one waits for
        the readers of all watches (synchronize_srcu), 11 ms measured, which a freeze does not have."""
        self._names: dict[int, set[str]] = {}
        """By watch descriptor: the names in that directory that matter; `ANY` for all."""
        self._running = False
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, paths: Iterable[str], inside: Iterable[str] = ()) -> None:
        """These absolute paths from now on, and everything that comes, goes and changes in directories.

        What is inside of a directory counts itself, not what a symbolic link in there leads to: such files go to
        `paths` as well.
        """
        self._inside = tuple(dict.fromkeys(inside))
        self._paths = tuple(dict.fromkeys((*paths, *self._inside)))
        if self._running:
            self._plan()

    def start(self) -> None:
        """Watch. One call comes in any case, for what changed before. The work is left for then: it takes a while."""
        self._running = True
        self._plan()

    def stop(self) -> None:
        """No call from here on. Events wait in the kernel."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)

    def _plan(self) -> None:
        if self._timer is None and (self._paths or self._names):
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._due)

    def _due(self) -> None:
        """First look where changes would come from, then tell, so that none comes in between."""
        self._timer = None
        if self._fd < 0:
            self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            self._warn("/proc/sys/fs/inotify")
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._read)
            self._look()
        self._changed()

    def _look(self) -> None:
        """Watch the directories that matter now; the kernel knows those that it watches already."""
        wanted: dict[str, set[str]] = {}
        for path in self._paths:
            for directory, name in places(path):
                wanted.setdefault(directory, set()).add(name)
        for path in self._inside:
            wanted.setdefault(path, set()).add(ANY)
        names: dict[int, set[str]] = {}
        for directory, inside in wanted.items():
            watch = _libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK)
            if watch >= 0:
                names.setdefault(watch, set()).update(inside)
            elif ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR):  # gone again: its parent tells
                self._warn(directory)
        for watch in self._names.keys() - names.keys():
            _libc.inotify_rm_watch(self._fd, watch)
        self._names = names

    def _warn(self, place: str) -> None:
        reason = os.strerror(ctypes.get_errno()).lower()
        text = "changes of files are not noticed here; %s"
        log.warning(text, self._remedy, extra=fields(place=place, reason=reason))

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            name = os.fsdecode(data[at - length : at].rstrip(b"\0"))
            known = self._names.get(watch)
            # Without a name: the directory itself. An overflow has no directory: anything may be lost.
            if mask & _Q_OVERFLOW or (known is not None and (not name or name in known or ANY in known)):
                self._plan()


def places(path: str) -> list[tuple[str, str]]:
    """Where something could change what `path` leads to: directories, themselves no links, and a name in each."""
    found: list[tuple[str, str]] = []
    rest = deque(Path(path).parts)
    directory, links = Path("/"), 0
    while rest:
        name = rest.popleft()
        if name == "..":
            directory = directory.parent
            continue
        here = directory / name  # an absolute part begins anew
        try:
            target = here.readlink()
        except OSError:  # no link, or not there
            if rest and here.is_dir():
                directory = here
                continue
            found.append((str(directory), name))
            break
        found.append((str(directory), name))
        links += 1
        if links > MOST_LINKS:
            break
        rest.extendleft(reversed(target.parts))
    return found
