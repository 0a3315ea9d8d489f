"""File -> parts -> structs, or every problem in it.

    text --document.parse--> nodes --reader--> parts --checks of the caller--> parts --build--> struct

A problem names file, line, key, what is wrong and what to write instead. Nothing is taken by halves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotswap.settings import document
from hotswap.settings.kinds import FilePath
from hotswap.settings.problems import InvalidConfig, Problem, Problems
from hotswap.settings.reader import Part, Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotswap.settings.sections import Form, Section

    Check = Callable[[Part, Problems], None]
    Complete = Callable[[Section, dict[str, Any]], None]


def read_file(path: Path, *, remedy: str, most: int = document.MAX_BYTES, what: str = "a configuration") -> str:
    """The text of a file of `most` bytes at most. Raises `InvalidConfig`; `remedy` is for one that cannot be read."""
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidConfig(source, [Problem(0, "", f"cannot be read: {reason}; {remedy}")]) from None
    if len(raw) > most:
        size = f"{most >> 20} MB" if most >= 1 << 20 else f"{most >> 10} KB"
        raise InvalidConfig(source, [Problem(0, "", f"larger than {size}; is this {what}?")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(source, [Problem(line, "", "not UTF-8; save the file in that encoding")]) from None


def read_text(text: str, source: str, form: Form, check: Check) -> tuple[Part, tuple[Problem, ...]]:
    """What stands in a text, and warnings; `source` is what its problems call it. Raises `InvalidConfig` with all.

    `check` looks at what could be read, across keys, and adds to the problems.
    """
    problems = Problems()
    root = None
    try:
        node = document.parse(text, form.page, form.least)
    except document.Unreadable as error:
        problems.error(error.line, "", str(error))
    else:
        root = Reader(problems, form.elsewhere).section(form.root, node, node.line, "")
        if root is not None:
            check(root, problems)
    if problems.errors or root is None:
        raise InvalidConfig(source, sorted(problems.errors, key=lambda problem: problem.line))
    return root, tuple(sorted(problems.warnings, key=lambda problem: problem.line))


def build(part: Part, base: Path, complete: Complete) -> Any:
    """The struct of a part without problems. Paths of files are relative to `base`.

    `complete` changes the fields of a section before its struct is made: what follows from other keys.
    """
    fields: dict[str, Any] = {}
    for name, found in part.fields.items():
        if isinstance(found.value, Part):
            fields[name] = build(found.value, base, complete)
        elif isinstance(found.value, list):
            fields[name] = tuple(build(item, base, complete) for item in found.value)
        elif isinstance(part.section.kind(name), FilePath):
            fields[name] = str(base / found.value)
        else:
            fields[name] = found.value
    complete(part.section, fields)
    return part.section.struct(**fields)
