"""What code a generation runs, as a short text: version and digest of the sources.

A version number alone does not tell a patched installation from the original.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hotswap import __version__

_PIECE: Final = 65536
_HEADERS: Final = 4096
"""Bytes of an ELF file within which linkers put its notes."""
_NOTE: Final = b"\4\0\0\0\24\0\0\0\3\0\0\0GNU\0"
"""What stands before a build id of 20 bytes, little-endian: NT_GNU_BUILD_ID, elf(5)."""


def of_program(version: str = __version__) -> str:
    """The same over the file that this program was started from; ``python -c`` and the like have only a version."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if name is None or not Path(name).is_file():
        return version
    return f"{version}+{hashlib.sha256(Path(name).read_bytes()).hexdigest()[:12]}"


def fingerprint(packages: Sequence[Path], version: str = __version__) -> str:
    """``1.2.3+0123456789ab`` over every ``.py`` and ``.so`` file below these directories, by name and content.

    Every start waits for it: 6 ms for some 470 files; three times as long with a `Path` or a file object for each, and
    what is compiled read to its end.
    """
    state = hashlib.sha256()
    for package in packages:
        for name, file in sorted(_code(str(package), (package.name,))):
            content = _content(file)
            state.update(b"%b\0%d\0" % ("/".join(name).encode(), len(content)))
            state.update(content)
    return f"{version}+{state.hexdigest()[:12]}"


def _code(folder: str, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith((".py", ".so")):
                yield (*name, entry.name), entry.path
            elif entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":  # a name for bytecode only
                yield from _code(entry.path, (*name, entry.name))


def _content(path: str) -> bytes:
    """Of an extension module its build id if it has one: a digest of the content already, ld(1) ``--build-id``."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(fd, _PIECE)]
        at = pieces[0].find(_NOTE, 0, _HEADERS) if path.endswith(".so") else -1
        if at >= 0:
            return pieces[0][at : at + len(_NOTE) + 20]
        while len(pieces[-1]) == _PIECE:
            pieces.append(os.read(fd, _PIECE))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(fd)
