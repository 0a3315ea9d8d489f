"""Replace a network server by its next version while every client stays connected.

The public names of the library are attributes of this package. They are imported when first used,
so that the command, which needs none of them, starts in half the time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotswap.address import Address
    from hotswap.errors import CannotRestore, HotswapError
    from hotswap.generation import Generation
    from hotswap.handover.rounds import Limits
    from hotswap.server import Server
    from hotswap.swappable import ListenerSpec, Saved, Schema, Swappable, Value

__version__ = "0.1.0"

__all__ = [
    "Address",
    "CannotRestore",
    "Generation",
    "HotswapError",
    "Limits",
    "ListenerSpec",
    "Saved",
    "Schema",
    "Server",
    "Swappable",
    "Value",
    "__version__",
]

_HOME = {
    "Address": "hotswap.address",
    "CannotRestore": "hotswap.errors",
    "Generation": "hotswap.generation",
    "HotswapError": "hotswap.errors",
    "Limits": "hotswap.handover.rounds",
    "ListenerSpec": "hotswap.swappable",
    "Saved": "hotswap.swappable",
    "Schema": "hotswap.swappable",
    "Server": "hotswap.server",
    "Swappable": "hotswap.swappable",
    "Value": "hotswap.swappable",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home, PEP 562."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'hotswap' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
