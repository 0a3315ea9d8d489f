"""What is to be known of the generations before even if the last one died: a file in the runtime directory.

    <runtime>/<name>/lineage    {"superseded": ["build/config", ...], "newest": 3}

The history travels from owner to owner and ends with a crash. But who was superseded must not come back by that: of
two containers that are started again the old one may be the later. So every owner writes down what `admission.newer`
needs, and a cold start reads it. Whoever starts cold is superseded no more: only the lock decides about that. An end on
purpose is the end of it all.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

import msgspec

from hotswap.log import fields

if TYPE_CHECKING:
    from pathlib import Path

    from hotswap.chain import Chain

log = logging.getLogger("hotswap")

NAME: Final = "lineage"
LIMIT: Final = 64 * 1024  # bytes of it that are read


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file holds. See `Chain.superseded` and `Chain.newest`."""

    superseded: list[str] = []
    newest: int = -1


def write(directory: Path, chain: Chain) -> None:
    """Keep it, whole or as it was. A volume that is full is no reason to fail."""
    path, fresh = directory / NAME, directory / f"{NAME}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()  # it may be another user's
        with fresh.open("xb") as file:
            file.write(msgspec.json.encode(Lineage(chain.superseded, chain.newest)))
        fresh.chmod(directory.stat().st_mode & 0o660)
        os.replace(fresh, path)  # noqa: PTH105  what pathlib calls replace says nothing about being atomic
    except OSError as error:
        log.warning("a crash would forget who was superseded", extra=fields(file=str(path), error=error.strerror))


def forget(directory: Path) -> None:
    """There is nobody left."""
    with contextlib.suppress(OSError):
        (directory / NAME).unlink()


def read(directory: Path, chain: Chain, identity: str) -> None:
    """Into the chain of a generation that starts cold under this identity. What cannot be read says nothing."""
    try:
        # Others may write to the directory: no link that leads elsewhere, nothing to wait for.
        fd = os.open(directory / NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            told = msgspec.json.decode(file.read(LIMIT), type=Lineage)
    except (OSError, msgspec.DecodeError):
        return
    chain.superseded = [one for one in told.superseded if one != identity]
    chain.newest = told.newest
