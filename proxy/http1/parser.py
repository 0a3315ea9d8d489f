"""Which parser of heads is on: that in C where it can be loaded, else its twin in Python. Both give the same results.

    proxy.http1._head   C: reads plain messages, nearly all there are, and asks the twin about all others
    proxy.http1.head    Python: reads all of them, and is the only one that refuses

``HOTSWAP_HTTP1_HEAD=python`` in the environment turns C off: for tests, and if it should ever be at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.http1 import head
from proxy.native import load

VARIABLE: Final = "HOTSWAP_HTTP1_HEAD"

_native, WHY_PYTHON = load("proxy.http1._head", head.FORMAT, VARIABLE)
"""The second: why the C module is not on, empty if it is."""

if TYPE_CHECKING or _native is None:
    from proxy.http1.head import find_end, parse_request, parse_response
else:
    find_end, parse_request, parse_response = _native.find_end, _native.parse_request, _native.parse_response

IMPLEMENTATION: Final = "python" if _native is None else "c"

__all__ = ["IMPLEMENTATION", "WHY_PYTHON", "find_end", "parse_request", "parse_response"]
