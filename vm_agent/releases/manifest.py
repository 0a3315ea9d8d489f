"""What was installed, written down beside it. A directory is a release if, and only if, it holds its own record.

    <release>/.hotswap-files.json     every file: path, kind, mode, size, SHA-256; or where a link leads
    <release>/.hotswap-release.json   version, kind, origin, time, and the SHA-256 of the list above

The record is renamed into place when all else is on the disk. That is the moment in which the release exists: a crash
before it leaves a directory that is no release, which the next installation removes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from vm_agent.errors import ReleaseError
from vm_agent.files import sync_directory
from vm_agent.releases.copying import Stopped
from vm_agent.releases.disk import sync_all

RECORD = ".hotswap-release.json"
FILES = ".hotswap-files.json"
_FORMAT = 1
_LARGEST = 64 << 20
_SHOWN = 20
_PIECE = 1 << 20

Kind = Literal["wheel", "sdist", "directory"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The record, as it is written."""

    format: int = _FORMAT
    version: str
    kind: Kind
    origin: str
    """Name in the source directory."""
    sha256: str
    """Of the wheel or sdist; empty for a directory."""
    installed: float
    """Seconds since the epoch."""
    files: int
    files_sha256: str
    """Of the list."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file, or link, of the list."""

    path: str
    mode: int
    size: int = 0
    sha256: str = ""
    link: str = ""


@dataclass(frozen=True)
class Release:
    """An installed release."""

    version: str
    path: Path
    """Absolute; programs are below it."""
    kind: Kind
    origin: str
    """Name of the wheel, sdist or directory that it was made of."""
    sha256: str
    """Of the wheel or sdist; empty for a directory."""
    installed: float
    """Seconds since the epoch."""
    files_sha256: str
    """Of the list of all its files: two that have the same are the same."""


def write(directory: Path, record: Record, stop: threading.Event) -> Release:
    """Write down all that is there, have it on the disk, and make it a release. Raises `OSError`, `Stopped`."""
    items = list(_items(directory, stop))
    listed = msgspec.json.encode(items)
    (directory / FILES).write_bytes(listed)
    (directory / FILES).chmod(0o644)
    record = msgspec.structs.replace(record, files=len(items), files_sha256=hashlib.sha256(listed).hexdigest())
    coming = directory / f"{RECORD}.new"
    coming.write_bytes(msgspec.json.encode(record))
    coming.chmod(0o644)
    sync_all(directory)
    coming.rename(directory / RECORD)
    sync_directory(directory)
    sync_directory(directory.parent)
    return _release(directory, record)


def read(directory: Path) -> Release | None:
    """The release in this directory; None if it holds none, or half of one."""
    try:
        record = msgspec.json.decode((directory / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    return _release(directory, record) if record.format == _FORMAT and record.version == directory.name else None


def problems(release: Release) -> list[str]:
    """What is not as it was installed, for people; empty: nothing. Reads every file."""
    try:
        with (release.path / FILES).open("rb") as stream:
            listed = stream.read(_LARGEST)
        if hashlib.sha256(listed).hexdigest() != release.files_sha256:
            return [f"{release.path / FILES} was changed after the installation"]
        expected = {item.path: item for item in msgspec.json.decode(listed, type=list[Item])}
        found = {item.path: item for item in _items(release.path, threading.Event())}
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    except msgspec.DecodeError as error:
        return [f"{release.path / FILES} cannot be read: {error}"]
    wrong = [f"{release.path / path} is missing" for path in expected if path not in found]
    wrong += [_difference(release.path, expected[path], item) for path, item in found.items() if path in expected]
    # The interpreter keeps what it compiled; everything else that came later is somebody's doing.
    wrong += [
        f"{release.path / path} was not installed with it"
        for path in found
        if path not in expected and "__pycache__" not in path
    ]
    wrong += [
        f"{release.path / path} leads to {item.link}, which is gone: install that, or this release anew"
        for path, item in found.items()
        if item.link.startswith("/") and not (release.path / path).exists()  # the interpreter it was made of
    ]
    wrong = [text for text in wrong if text]
    return [*wrong[:_SHOWN], *([f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else [])]


def require_free(directory: Path) -> None:
    """Raise `ReleaseError` if what was copied already holds a record, which would pass for ours."""
    for name in (RECORD, FILES):
        if os.path.lexists(directory / name):
            raise ReleaseError(f"the release has a file {name}: it was copied from an installed one; remove that file")


def _difference(root: Path, expected: Item, found: Item) -> str:
    path = root / expected.path
    if expected.link != found.link or (expected.sha256 == "") != (found.sha256 == ""):
        return f"{path} led to {expected.link or 'itself'}, now to {found.link or 'itself'}"
    if expected.sha256 != found.sha256:
        return f"{path} was changed: expected sha256 {expected.sha256}, found {found.sha256}"
    if expected.mode != found.mode:
        return f"{path} has mode {found.mode:04o} instead of {expected.mode:04o}"
    return ""


def _items(root: Path, stop: threading.Event) -> list[Item]:
    items: list[Item] = []

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=fail):
        folders.sort()
        for name in sorted([*files, *(one for one in folders if Path(folder, one).is_symlink())]):
            if stop.is_set():
                raise Stopped
            path = Path(folder, name)
            if path.parent == root and name.removesuffix(".new") in {RECORD, FILES}:
                continue
            items.append(_item(path, str(path.relative_to(root))))
    return items


def _item(path: Path, name: str) -> Item:
    info = path.lstat()
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return Item(name, 0, link=str(path.readlink()))
    if not stat.S_ISREG(info.st_mode):
        return Item(name, mode)
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return Item(name, mode, info.st_size, digest.hexdigest())


def _release(directory: Path, record: Record) -> Release:
    return Release(
        version=record.version,
        path=directory,
        kind=record.kind,
        origin=record.origin,
        sha256=record.sha256,
        installed=record.installed,
        files_sha256=record.files_sha256,
    )
