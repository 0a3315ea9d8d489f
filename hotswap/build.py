"""What code a generation runs, as a short text: version and digest of the sources.

A version number alone does not tell a patched installation from the original.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from hotswap import __version__


def of_program(version: str = __version__) -> str:
    """The same over the file that this program was started from; ``python -c`` and the like have only a version."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    if name is None or not Path(name).is_file():
        return version
    return f"{version}+{hashlib.sha256(Path(name).read_bytes()).hexdigest()[:12]}"


def fingerprint(packages: Sequence[Path], version: str = __version__) -> str:
    """``1.2.3+0123456789ab`` over every ``.py`` and ``.so`` file below these directories, by name and content."""
    state = hashlib.sha256()
    for package in packages:
        for path in sorted(path for path in package.rglob("*") if path.suffix in {".py", ".so"}):
            state.update(str(path.relative_to(package.parent)).encode() + b"\0")
            state.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{version}+{state.hexdigest()[:12]}"
