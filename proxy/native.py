"""Loads modules in C that have a twin in Python, or tells why not."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def load(name: str, form: int, variable: str) -> tuple[ModuleType | None, str]:
    """The module of that name, or None and the reason for people.

    `form` is the ``FORMAT`` of the sources that are installed: one that was built from others is of no use. `variable`
    in the environment turns it off with the value ``python``.
    """
    if os.environ.get(variable) == "python":
        return None, f"{variable}=python is set"
    try:
        module = import_module(name)
    except ImportError as error:
        return None, str(error)
    if form != module.FORMAT:
        return None, "it was built from other sources"
    return module, ""
