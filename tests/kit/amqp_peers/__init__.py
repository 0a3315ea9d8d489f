"""AMQP clients that nobody here wrote: pika and aio-pika from PyPI, amqplib from npm.

Each publishes numbered messages with confirms and consumes them with acks, until its stdin ends and at least as many as
it was told are through; then it waits for the rest and prints a `Report`. Python's are among the dependencies of the
tests; amqplib is installed on demand into `.cache/peers` of the tree, once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.kit.bolt_peers import CACHE, Absent, Peer, install

HERE = Path(__file__).parent
NODE_PACKAGE = "amqplib@0.10.9"


class Report(msgspec.Struct):
    """What a client saw. Lost: published, and confirmed, and never delivered."""

    published: int
    delivered: int
    lost: int
    doubled: int
    redelivered: int
    failures: list[str]


def pika(address: str, count: int, heartbeat: int = 10, authority: str = "") -> Peer:
    """Two threads with a connection each."""
    return Peer([sys.executable], str(HERE / "with_pika.py"), address, count, heartbeat, authority)


def aio_pika(address: str, count: int, heartbeat: int = 10, authority: str = "") -> Peer:
    """Fifty publishes under way at a time, on one connection."""
    return Peer([sys.executable], str(HERE / "with_aio_pika.py"), address, count, heartbeat, authority)


def amqplib(address: str, count: int, heartbeat: int = 10, authority: str = "") -> Peer:
    """The same in node. Raises `Absent`."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise Absent("node and npm are not installed")
    folder = CACHE / "amqp-node"
    module = folder / "node_modules" / "amqplib"
    if not module.exists():
        install([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), NODE_PACKAGE], folder)
    return Peer([program], str(HERE / "with_amqplib.js"), address, count, heartbeat, authority, module)


CLIENTS: dict[str, Callable[..., Peer]] = {"pika": pika, "aio_pika": aio_pika, "amqplib": amqplib}


def finish(peer: Peer, within: float = 120.0) -> Report:
    """Let it end; what it saw."""
    assert peer._process.stdin is not None
    peer._process.stdin.close()
    return msgspec.json.decode(peer.line(within), type=Report)
