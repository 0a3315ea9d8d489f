"""Which parser of heads is on: that in C where it can be loaded, else its twin in Python. Both give the same results.

    proxy.http1._head   C: reads plain messages, nearly all there are, and asks the twin about all others
    proxy.http1.head    Python: reads all of them, and is the only one that refuses

``HOTSWAP_HTTP1_HEAD=python`` in the environment turns C off: for tests, and if it should ever be at fault.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proxy.http1 import head

if TYPE_CHECKING:
    from types import ModuleType

VARIABLE: Final = "HOTSWAP_HTTP1_HEAD"


def _load() -> tuple[ModuleType | None, str]:
    """The C module, or why it is not on."""
    if os.environ.get(VARIABLE) == "python":
        return None, f"{VARIABLE}=python is set"
    try:
        from proxy.http1 import _head  # noqa: PLC0415  # may be missing
    except ImportError as error:
        return None, str(error)
    if _head.FORMAT != head.FORMAT:
        return None, "it was built from other sources"
    return _head, ""


_native, WHY_PYTHON = _load()
"""The second: why the C module is not on, empty if it is."""

if TYPE_CHECKING or _native is None:
    from proxy.http1.head import find_end, parse_request, parse_response
else:
    find_end, parse_request, parse_response = _native.find_end, _native.parse_request, _native.parse_response

IMPLEMENTATION: Final = "python" if _native is None else "c"

__all__ = ["IMPLEMENTATION", "WHY_PYTHON", "find_end", "parse_request", "parse_response"]
