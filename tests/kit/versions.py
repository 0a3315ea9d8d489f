"""Copies of the installed packages: another version of them, or one that can be broken while it serves."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

from hotswap import __version__
from tests.kit.companion import ROOT

PACKAGES = ("hotswap", "proxy", "shm_metrics")
MAJOR, MINOR = __version__.split(".")[:2]
NEXT_VERSION = f"{MAJOR}.{int(MINOR) + 1}.0"

FIELD = '    of_next_version: str = "written by the next version"\n'

# Messages and states of which the next version has one field more.
GROWN = (
    ("proxy/state.py", "Transport"),
    ("proxy/state.py", "SharedState"),
    ("proxy/http1/state.py", "DownstreamState"),
    ("hotswap/handover/wire.py", "Hello"),
)


def copy_packages(to: Path) -> Path:
    """A copy of the packages, with a `run` script that uses it and nothing else; returns `to`."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    lines = ["import sys", f"sys.path.insert(0, {str(to)!r})", "from hotswap.cli.main import main", "main()", ""]
    (to / "hotswap-of-copy.py").write_text("\n".join(lines))
    return to


def command_of(tree: Path, *arguments: str) -> list[str]:
    """The command line of the `hotswap` program of a copy."""
    return [sys.executable, str(tree / "hotswap-of-copy.py"), *arguments]


def raise_minor_version(tree: Path) -> None:
    """Make a copy the next minor version: another number, and one more field in messages and states."""
    edit(tree / "hotswap/__init__.py", f'__version__ = "{__version__}"', f'__version__ = "{NEXT_VERSION}"')
    for name, struct in GROWN:
        grow(tree / name, struct)


def grow(file: Path, struct: str) -> None:
    """Give a struct one more field, the last: at the end is where fields are added."""
    lines = file.read_text().splitlines(keepends=True)
    classes = [node for node in ast.parse("".join(lines)).body if isinstance(node, ast.ClassDef)]
    (found,) = [node for node in classes if node.name == struct]
    fields = [node for node in found.body if not isinstance(node, ast.FunctionDef)]
    assert fields[-1].end_lineno is not None
    lines.insert(fields[-1].end_lineno, FIELD)
    file.write_text("".join(lines))


def edit(file: Path, old: str, new: str) -> None:
    """Replace the one occurrence of a text."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file}: {old!r} is there {text.count(old)} times"
    file.write_text(text.replace(old, new))


def ruin(tree: Path) -> None:
    """Replace every module of a copy by garbage, compiled ones too."""
    for cache in tree.rglob("__pycache__"):
        shutil.rmtree(cache)
    for module in tree.rglob("*.py"):
        module.write_text("this is no Python (\n")
