"""Entry points: what installed distributions bring, found at a start in one millisecond.

`importlib.metadata` finds the same and needs 25 ms for it, as it imports what reads mail and archives: a tenth of a
start, and a third of `hotswap status`. Distributions are looked for as it does: in the directories of ``sys.path``, of
two of one name the first counts. What it knows besides, archives on the path, is not looked into.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ABOUT: Final = (".dist-info", ".egg-info")
"""What directories that tell of a distribution end with."""
FILE: Final = "entry_points.txt"
"""In them, where there is something to tell."""


class Point(NamedTuple):
    """One entry point; `value` is ``module:attribute``."""

    name: str
    value: str

    def load(self) -> Any:
        """Import it. Raises `ImportError`, `AttributeError`, and whatever the module raises."""
        module, _, attribute = self.value.partition(":")
        found: Any = import_module(module.strip())
        for name in filter(None, attribute.strip().split(".")):
            found = getattr(found, name)
        return found


def entry_points(group: str, name: str | None = None, path: Sequence[str] | None = None) -> list[Point]:
    """Those of a group, all or those of one name, in the order of the path (that of Python if None is given)."""
    return [
        point
        for text in _texts(sys.path if path is None else path)
        for point in _points(text, group)
        if name in {None, point.name}
    ]


def _texts(path: Sequence[str]) -> Iterator[str]:
    seen = set()
    for folder in path:
        try:
            entries = os.listdir(folder or ".")  # noqa: PTH208 - names will do
        except OSError:
            continue
        for entry in entries:
            if not entry.endswith(ABOUT):
                continue
            distribution = re.sub(r"[-_.]+", "_", entry.rpartition(".")[0].partition("-")[0]).lower()
            if distribution in seen:
                continue
            seen.add(distribution)
            try:
                with open(os.path.join(folder, entry, FILE), encoding="utf-8") as file:  # noqa: PTH118, PTH123
                    yield file.read()
            except (OSError, UnicodeDecodeError):
                continue


def _points(text: str, group: str) -> Iterator[Point]:
    within = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            within = line == f"[{group}]"
        elif within and line and line[0] not in "#;":
            name, _, value = line.partition("=")
            yield Point(name.strip(), value.partition("[")[0].strip())  # extras concern installers
