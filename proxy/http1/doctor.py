"""What `hotswap doctor` tells about HTTP/1.1: which parser of heads is on. By the entry-point group hotswap.checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.cli.checks import Finding
from proxy.http1 import parser

if TYPE_CHECKING:
    from collections.abc import Iterator


def http1() -> Iterator[Finding]:
    """The parser of heads. The one in Python gives the same results, but slower."""
    if not parser.WHY_PYTHON:
        yield Finding("http1", "ok", "heads of requests and responses are read in C")
        return
    message = f"heads of requests and responses are read in Python, which is slower: {parser.WHY_PYTHON}"
    if parser.VARIABLE in parser.WHY_PYTHON:
        remedy = f"unset {parser.VARIABLE}, unless you want it so"
    else:
        remedy = "install a C compiler, then install hotswap again"
    yield Finding("http1", "note", message, remedy)
