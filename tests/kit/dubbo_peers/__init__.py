"""Dubbo peers that nobody here wrote: sofa-rpc-node with dubbo-remoting from npm, and dubbo-python from PyPI, client.

Installed and started like those of bolt, see `tests.kit.bolt_peers`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.kit import bolt_peers
from tests.kit.bolt_peers import CACHE, Absent, Peer, Report

__all__ = ["CALLER", "CLIENT", "SERVER", "Absent", "Peer", "Report", "node", "python"]

HERE = Path(__file__).parent
CLIENT, SERVER, CALLER = (str(HERE / name) for name in ("client.js", "server.js", "caller.py"))
NODE_PACKAGES = (bolt_peers.NODE_PACKAGE, "dubbo-remoting@2.1.4")
PYTHON_PACKAGES = ("dubbo-python==0.0.4", "kazoo==2.11.0")
"""Without their dependencies: the registries, of which the caller has no need."""


def node() -> list[str]:
    """The command line of node, with both packages where it finds them. Raises `Absent`."""
    return bolt_peers.node(NODE_PACKAGES, "dubbo-remoting")


def python() -> list[str]:
    """The command line of the Python that has dubbo-python. Raises `Absent`."""
    folder = CACHE / "python"
    if not (folder / "dubbo").exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        bolt_peers.install([*pip, *PYTHON_PACKAGES], folder)
    return [sys.executable]
