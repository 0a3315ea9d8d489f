"""Whether the hot modules of the data plane run compiled, as C that Cython made of them, or interpreted.

Both are made from one source: ``reactor.py`` is the program, ``reactor.pxd`` beside it tells the compiler what the
fields and arguments are in C. `setup.py` builds them, all or none: compiled classes use each other's fields by their
place in memory, so a mixture would not do. Values, and so snapshots and upgrades, are the same in both modes.

They run interpreted

* where they were not built for this interpreter, or not all of them;
* where a source is not what they were built from, or what lies beside it: somebody is at work on it, and shall see
  what he wrote;
* with ``HOTSWAP_PLANE=python`` in the environment: for a debugger, for tests, and if they should ever be at fault.

This module is imported before any other of the proxy, by the package itself, and read by `setup.py`; it imports
nothing of ours.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

VARIABLE: Final = "HOTSWAP_PLANE"

MODULES: Final = (
    "proxy.calls",
    "proxy.flow",
    "proxy.plane",
    "proxy.tls.guard",
    "proxy.connection",
    "proxy.bulk",
    "proxy.relay",
    "proxy.sides",
    "proxy.roster",
    "proxy.reactor",
    "proxy.tls.session",
    "proxy.metrics.meters",
    "proxy.pool",
    "proxy.encryption.mix",
    "proxy.endpoint",
    "proxy.balance",
    "proxy.cluster",
    "proxy.route",
    "proxy.listener",
    "proxy.tcp",
    "proxy.proxy_protocol.sending",
    "proxy.http1.message",
    "proxy.http1.forward",
    "proxy.http1.ending",
    "proxy.http1.exchange",
    "proxy.http1.filtered",
    "proxy.http1.upload",
    "proxy.http1.downstream",
    "proxy.http1.download",
    "proxy.http1.pooled",
    "proxy.http1.upstream",
    "proxy.shared_pool",
    "proxy.multiplexed.pieces",
    "proxy.multiplexed.pending",
    "proxy.multiplexed.stream",
    "proxy.multiplexed.client",
    "proxy.multiplexed.attended",
    "proxy.multiplexed.downstream",
    "proxy.multiplexed.ledger",
    "proxy.multiplexed.value",
    "proxy.multiplexed.living",
    "proxy.multiplexed.upstream",
    "proxy.bolt.runs",
    "proxy.bolt.downstream",
    "proxy.bolt.upstream",
    "proxy.dubbo.runs",
    "proxy.dubbo.downstream",
    "proxy.dubbo.upstream",
    "proxy.octets",
    "proxy.guests",
    "proxy.timers",
    "proxy.http2.packing",
    "proxy.http2.budget",
    "proxy.http2.stream",
    "proxy.http2.heads",
    "proxy.http2.owner",
    "proxy.http2.huffman",
    "proxy.http2.literals",
    "proxy.http2.hpack",
    "proxy.http2.outgoing",
    "proxy.http2.controls",
    "proxy.http2.incoming",
    "proxy.http2.session",
    "proxy.http2.sealing",
    "proxy.http2.grpc",
    "proxy.http2.text",
    "proxy.http2.downstream",
    "proxy.http2.streams",
    "proxy.http2.exchange",
    "proxy.http2.server_text",
    "proxy.http2.call",
    "proxy.http2.requests",
    "proxy.http2.living",
    "proxy.http2.upstream",
)
"""What is compiled, each with a ``.pxd`` beside its source."""

FORMAT: Final = 2
"""Counts what else makes a build stale: how `setup.py` prepares the sources."""

_ROOT: Final = Path(__file__).parent.parent


def source(name: str) -> Path:
    """The path of a module's source."""
    return _ROOT.joinpath(*name.split(".")).with_suffix(".py")


def stamps(name: str) -> dict[str, int]:
    """Tell whether a module is what it was built from: the CRC-32 of each of its files, by path; FORMAT is in it.

    Only a checkout has others than the source: an installed package has no use for them.
    """
    path = source(name)
    files = [path.with_suffix(suffix) for suffix in (".py", ".pxd", ".pyx")]
    return {str(file.relative_to(_ROOT)): crc32(file.read_bytes(), FORMAT) for file in files if file.exists()}


def _obstacle() -> str:
    """Why the data plane cannot run compiled; empty if it can."""
    if os.environ.get(VARIABLE) == "python":
        return f"{VARIABLE}=python is set"
    try:
        built: dict[str, int] = import_module("proxy._stamps").STAMPS  # made by a build
    except ImportError:
        return "it was not built"
    suffix = EXTENSION_SUFFIXES[0]
    for name in MODULES:
        within = name.replace(".", os.sep)
        path = f"{_ROOT}{os.sep}{within}"
        module = _written(path + suffix)
        if module < 0:
            return f"{name} was not built for this interpreter"
        # To read all of them takes 9 ms of a start, and what is older than the module is what it was built from.
        older = max(_written(path + ".py"), _written(path + ".pxd"), _written(path + ".pyx")) < module
        if not (older and within + ".py" in built) and not stamps(name).items() <= built.items():
            return f"{name} was built from another source"
    return ""


def _written(path: str) -> int:
    """When, in nanoseconds; -1: there is no such file."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116  three hundred of them at every start
    except OSError:
        return -1


class Interpreted:
    """A finder that takes the sources where compiled modules lie beside them."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG004 - as the import system calls it
        target: ModuleType | None = None,  # noqa: ARG004 - the same
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        if name not in _HOT:
            return None
        where = source(name)
        return spec_from_file_location(name, where, loader=SourceFileLoader(name, str(where)))


_HOT: Final = frozenset(MODULES)
WHY_INTERPRETED: Final = _obstacle()
"""For people; empty if the data plane runs compiled."""
MODE: Final = "interpreted" if WHY_INTERPRETED else "compiled"

if WHY_INTERPRETED:
    sys.meta_path.insert(sys.meta_path.index(PathFinder), Interpreted)
