"""What `hotswap doctor` tells about TLS: which record layer is on. By the entry-point group hotswap.checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotswap.cli.checks import Finding
from proxy.tls import layer

if TYPE_CHECKING:
    from collections.abc import Iterator


def tls() -> Iterator[Finding]:
    """The record layer. The one in Python does the same, but slower, and leaves copies of secrets in memory."""
    if not layer.WHY_PYTHON:
        yield Finding("tls", "ok", f"records are sealed and opened in C, with OpenSSL {layer.OPENSSL}")
        return
    message = f"records are sealed and opened in Python, slower and with copies of secrets left: {layer.WHY_PYTHON}"
    if layer.VARIABLE in layer.WHY_PYTHON:
        remedy = f"unset {layer.VARIABLE}, unless you want it so"
    else:
        remedy = "install a C compiler and OpenSSL's headers (libssl-dev), then install hotswap again"
    yield Finding("tls", "note", message, remedy)
