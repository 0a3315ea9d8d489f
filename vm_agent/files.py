"""Files that are there whole or not at all, whatever ends the agent meanwhile."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_whole(file: Path, content: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Put `content` in the place of a file: beside it, flushed, renamed, and on the disk. Raises `OSError`.

    `owner`: uid and gid, where it is allowed to say so.
    """
    fresh = file.with_name(f".{file.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(fresh, flags, mode)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            if owner is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, *owner)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        fresh.replace(file)
        sync_directory(file.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def sync_directory(directory: Path) -> None:
    """Have a rename in this directory on the disk, fsync(2). Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
