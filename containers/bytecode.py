"""Compile what the programs import, for an image whose root is read-only.

Python's official images have no bytecode of the standard library. A container that may not write any would compile
what it imports at every start, which takes longer than everything else it does until it serves.

    python -P bytecode.py DIR

writes, below DIR, the compiled file of each module at the path where Python will look for it: of everything in this
environment, and of what its commands load from the standard library. They are never compared with their sources
(PEP 552, unchecked hashes): in an image nobody changes those.
"""

from __future__ import annotations

import importlib
import importlib.util
import py_compile
import site
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click

from hotswap.cli.main import main as hotswap
from proxy import compiled, ondemand, protocols
from vm_agent.cli.main import main as agent

NATIVE = ("proxy.tls._record", "proxy.http1._head", "shm_metrics._cells")
"""Optional elsewhere: without them Python does what C would. An image has them or is not built."""

LATER = ("encodings.idna", "encodings.utf_8_sig")
"""What is imported when it is used first."""


def loaded() -> Iterator[Path]:
    """The sources of all modules that any command needs."""
    for program in (hotswap, agent):
        for name in program.list_commands(click.Context(program)):
            program.get_command(click.Context(program), name)
    for group in ("hotswap.checks", "hotswap.remedies"):
        for point in entry_points(group=group):
            point.load()
    for name in (*NATIVE, *LATER, *ondemand.MODULES, *protocols.MODULES):
        importlib.import_module(name)
    for module in list(sys.modules.values()):
        source = getattr(module, "__file__", None)
        if source and source.endswith(".py"):
            yield Path(source)


def installed() -> Iterator[Path]:
    """The sources of everything in this environment, but for hundreds of lexers that nobody here uses."""
    for folder in site.getsitepackages():
        yield from (path for path in Path(folder).rglob("*.py") if "pygments" not in path.parts)


def main() -> None:
    """Compile them."""
    if compiled.WHY_INTERPRETED:  # optional elsewhere, too
        sys.exit(f"the data plane would run interpreted: {compiled.WHY_INTERPRETED}")
    target = Path(sys.argv[1])
    sources = {*loaded(), *installed()} - {Path(__file__)}
    for source in sorted(sources):
        bytecode = target / importlib.util.cache_from_source(str(source)).lstrip("/")
        bytecode.parent.mkdir(parents=True, exist_ok=True)
        py_compile.compile(
            str(source),
            cfile=str(bytecode),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    main()
