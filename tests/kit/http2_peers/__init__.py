"""HTTP/2 and gRPC peers that nobody here wrote: node's http2 and grpcio, each as a client and as a server.

    node_server     echoes bodies, with a trailer; GET /N answers N bytes
    node_client     posts bodies of many sizes on many streams, until its stdin ends
    grpc_server     all four kinds of call, errors and delays (`grpc_names`)
    grpc_client     all four kinds of call on many streams, until its stdin ends; `grpc_once`: one call, and its status

Programs from apt (nghttp, h2load, nghttpd, curl, nginx) need no more than `tests.kit.programs.program`. Any GOAWAY,
reset or answer of other bytes is among the `failures` of a client's `Report`. grpcio is installed on demand into
`.cache/peers` of the tree, once. `Absent` says why a peer cannot be had.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.kit.bolt_peers import CACHE, Absent, Peer, Report, install

HERE = Path(__file__).parent
GRPC_PACKAGE = "grpcio==1.67.1"

__all__ = ["Absent", "Peer", "Report", "grpc_client", "grpc_once", "grpc_server", "node_client", "node_server"]


class Status(msgspec.Struct):
    """What became of one gRPC call."""

    code: str
    """``DEADLINE_EXCEEDED``, as grpcio names it."""
    details: str
    answer: str
    """In hexadecimal."""
    seconds: float


def _node() -> list[str]:
    program = shutil.which("node")
    if program is None:
        raise Absent("node is not installed")
    return [program]


def _grpc() -> list[str]:
    """The command line of the Python that has it."""
    folder = CACHE / "grpc"
    if not (folder / "grpc").exists():
        install([sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), GRPC_PACKAGE], folder)
    return [sys.executable]


def node_server(port: int, cert: str = "", key: str = "") -> Peer:
    """On 127.0.0.1; plaintext, or TLS with ALPN. Its report counts the streams, and names those that were reset."""
    return Peer(_node(), str(HERE / "server.js"), port, cert, key)


def node_client(url: str, sessions: int = 2, streams: int = 10, authority: str = "") -> Peer:
    """To ``http://127.0.0.1:PORT`` or ``https://...``, whose certificate `authority` (a PEM file) signed."""
    return Peer(_node(), str(HERE / "client.js"), url, sessions, streams, authority)


def grpc_server(port: int, cert: str = "", key: str = "") -> Peer:
    """On 127.0.0.1. Its report counts the calls that came to their end."""
    return Peer(_grpc(), str(HERE / "grpc_server.py"), CACHE / "grpc", port, cert, key)


def grpc_client(address: str, channels: int = 2, streams: int = 5, messages: int = 1000, authority: str = "") -> Peer:
    """To ``HOST:PORT``. Each channel has so many streams of each kind; those of both directions have `messages`."""
    return Peer(_grpc(), str(HERE / "grpc_client.py"), CACHE / "grpc", address, channels, streams, messages, authority)


def grpc_once(address: str, method: str, content: bytes = b"", within: float = 20.0) -> Status:
    """One unary call with a deadline: ``Echo``, ``Sleep`` (seconds as text) or ``Fail`` (a number and a text)."""
    program = [*_grpc(), str(HERE / "grpc_once.py"), str(CACHE / "grpc"), address, method, content.hex(), str(within)]
    done = subprocess.run(program, capture_output=True, timeout=within + 30, check=True)
    return msgspec.json.decode(done.stdout, type=Status)
