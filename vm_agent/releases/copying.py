"""Copies from the source directory, which may change at any time: what was digested is what was copied.

Every file is opened once, without following links, and its bytes go into the copy and into the digest in one pass.
What is checked afterwards is the copy, which nobody but the agent's user can write to.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

from vm_agent.errors import ReleaseError

_PIECE = 1 << 20
_DEEPEST = 64
_MOST = 200_000


class Stopped(Exception):
    """Whoever ordered the copy does not want it any more."""


def copy_file(source: Path, target: Path, stop: threading.Event) -> str:
    """One file of the source directory; its SHA-256 in hex digits. Raises `ReleaseError`, `OSError`, `Stopped`."""
    return _copy(source.name, source, None, target, stop)


def copy_tree(source: Path, target: Path, stop: threading.Event) -> dict[str, str]:
    """A directory, into `target`, which it makes; paths relative to it, and SHA-256, of the regular files.

    Modes become 0755 and 0644, the owner is the agent's. Refused (`ReleaseError`): devices, pipes, sockets, setuid and
    setgid programs, links that lead out.
    """
    copy = _Tree(source, target, stop)
    fd = _open(str(source), source, None, os.O_DIRECTORY)
    try:
        copy.directory(fd, Path(), 0)
    finally:
        os.close(fd)
    copy.check_links()
    return copy.digests


def size_of_tree(source: Path) -> tuple[int, int]:
    """Sum of the sizes, and number, of the files below; an estimate, since it may change."""
    size = count = 0
    for folder, _, files in os.walk(source):
        for file in files:
            size += os.lstat(Path(folder, file)).st_size
            count += 1
    return size, count


class _Tree:
    def __init__(self, source: Path, target: Path, stop: threading.Event) -> None:
        self.source = source
        self.target = target
        self.digests: dict[str, str] = {}
        self._stop = stop
        self._links: list[Path] = []
        self._count = 0

    def directory(self, fd: int, here: Path, depth: int) -> None:
        if depth > _DEEPEST:
            raise ReleaseError(f"{self.source / here} is nested deeper than {_DEEPEST} directories: not a release")
        made = self.target / here
        made.mkdir(mode=0o700)
        made.chmod(0o755)
        with os.scandir(fd) as listing:
            names = sorted(entry.name for entry in listing)
        for name in names:
            self._count += 1
            if self._count > _MOST:
                raise ReleaseError(f"{self.source} has more than {_MOST} files: not a release")
            self._entry(fd, name, here / name, depth)

    def _entry(self, fd: int, name: str, path: Path, depth: int) -> None:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            text = os.readlink(name, dir_fd=fd)
            if text.startswith("/"):
                raise _leads_out(self.source / path, text)
            (self.target / path).symlink_to(text)
            self._links.append(path)
        elif stat.S_ISDIR(mode):
            below = _open(name, self.source / path, fd, os.O_DIRECTORY)
            try:
                self.directory(below, path, depth + 1)
            finally:
                os.close(below)
        else:
            self.digests[str(path)] = _copy(name, self.source / path, fd, self.target / path, self._stop)

    def check_links(self) -> None:
        """In the copy, where they and what they lead over stay as they are."""
        root = os.path.realpath(self.target)
        for path in self._links:
            link = self.target / path
            if not Path(os.path.realpath(link)).is_relative_to(root):
                raise _leads_out(self.source / path, str(link.readlink()))


def _leads_out(link: Path, text: str) -> ReleaseError:
    return ReleaseError(
        f"{link} is a symbolic link to {text}, out of the release; put the file itself there (cp -L), or make a wheel"
    )


def _open(name: str, path: Path, fd: int | None, flags: int = 0) -> int:
    try:
        # O_NONBLOCK: a pipe that came between the look and the opening must not hold us.
        return os.open(
            name if fd is not None else path,
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags,
            dir_fd=fd,
        )
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and path.is_symlink()):
            raise ReleaseError(f"{path} is a symbolic link; put the file or directory itself there") from None
        if error.errno == errno.ENXIO:  # a socket cannot be opened
            raise _odd(path) from None
        error.filename = str(path)
        raise


def _odd(path: Path) -> ReleaseError:
    return ReleaseError(f"{path} is a device, a pipe or a socket: not part of any release; remove it")


def _copy(name: str, path: Path, fd: int | None, target: Path, stop: threading.Event) -> str:
    if not _regular_or_link(os.stat(path if fd is None else name, dir_fd=fd, follow_symlinks=False).st_mode):
        raise _odd(path)  # not even opened: opening a device can have effects
    digest = hashlib.sha256()
    with os.fdopen(_open(name, path, fd), "rb", buffering=0) as source:
        mode = os.fstat(source.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise _odd(path)
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise ReleaseError(
                f"{path} is setuid or setgid ({stat.S_IMODE(mode):04o}); take that away: chmod ug-s {path}"
            )
        try:
            with target.open("xb") as copy:
                while piece := source.read(_PIECE):
                    if stop.is_set():
                        raise Stopped
                    digest.update(piece)
                    copy.write(piece)
                os.fchmod(copy.fileno(), 0o755 if mode & 0o111 else 0o644)
        except OSError as error:
            error.filename = error.filename or str(target)
            raise
    return digest.hexdigest()


def _regular_or_link(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
