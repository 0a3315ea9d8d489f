"""A start that failed tells the one that serves, so that its log and its history say why nobody took over.

Only what fails before the call needs telling: in an attempt each side knows what became of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hotswap.control_client import ControlClient, running_names
from hotswap.errors import HotswapError
from hotswap.orders import GaveUp
from hotswap.runtime import default_runtime_dir

if TYPE_CHECKING:
    from pathlib import Path

SECONDS: Final = 1.0


def tell_owner(runtime_dir: Path | None, name: str | None, failure: HotswapError, *, version: str, token: str) -> bool:
    """Whether the owner of that name was told; of the only name there is, if it is not known. Never raises."""
    try:
        runtime_dir = runtime_dir or default_runtime_dir()
        if name is None:
            names = running_names(runtime_dir)
            if len(names) != 1:
                return False
            name = names[0]
        word = GaveUp(failure.exit_code, str(failure)[:8000], version, token)
        ControlClient(runtime_dir, name, timeout=SECONDS).post("/gave_up", msgspec.to_builtins(word))
    except (HotswapError, OSError):
        return False  # nobody serves, or it does not listen: nothing depends on it
    return True
