"""What `hotswap doctor` tells about the data plane: compiled or not. By the entry-point group hotswap.checks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.cli.checks import Finding
from proxy import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator


def plane() -> Iterator[Finding]:
    """How a proxy that is started here would run. Interpreted it does the same, but slower."""
    if not compiled.WHY_INTERPRETED:
        yield Finding("plane", "ok", f"the data plane runs compiled ({len(compiled.MODULES)} modules)")
        return
    message = f"the data plane runs interpreted, which is slower: {compiled.WHY_INTERPRETED}"
    yield Finding("plane", "note", message, _remedy(Path(compiled.__file__).parents[1]))


def _remedy(home: Path) -> str:
    """What makes it run compiled, where the packages lie in that directory."""
    if compiled.VARIABLE in compiled.WHY_INTERPRETED:
        return f"unset {compiled.VARIABLE}, unless you want it so"
    if (home / "setup.py").exists():  # a checkout, installed in place
        return f"with a C compiler and Python's headers: {sys.executable} -m pip install --editable {home}"
    return "install a C compiler and Python's headers, then install hotswap again; or install a wheel for this Python"
