"""Both parsers of heads, and what one makes of a head, in a form that can be compared."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from proxy.http1 import head
from proxy.http1.errors import BadMessage

try:
    from proxy.http1 import _head
except ImportError as error:
    NATIVE: ModuleType | None = None
    WHY = f"proxy.http1._head is not built: {error}"
else:
    NATIVE = _head
    WHY = ""

C, PYTHON = "c", "python"
BOTH = (C, PYTHON)


def implementation(name: str) -> Any:
    """The module. Without the one in C the test is skipped."""
    if name == PYTHON:
        return head
    if NATIVE is None:
        pytest.skip(WHY)
    return NATIVE


def outcome(name: str, function: str, *arguments: Any) -> str:
    """The result with all its fields and their types, or the refusal with its reason."""
    try:
        return repr(getattr(implementation(name), function)(*arguments))
    except BadMessage as why:
        return f"refused: {why.status}, {why.reason}"
