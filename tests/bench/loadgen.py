"""Build the load generator (loadgen.c) and talk to it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, get_args

import msgspec

from tests.bench.program import Program, compiled

HERE = Path(__file__).parent
SOURCES = [HERE / name for name in ("loadgen.c", "clients.c", "upstream.c", "bolt.c", "tls.c", "shakes.c")]
KILOBYTE = 1024

Protocol = Literal["echo", "http", "bolt", "bolt16"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
SPOKEN: dict[Protocol, tuple[str, int]] = {"bolt": ("bolt", 1), "bolt16": ("bolt", 16)}  # what, and how many at a time


class Tls(msgspec.Struct, frozen=True):
    """What clients do to a proxy that terminates TLS; the suite is AES-128-GCM, the key exchange X25519."""

    version: Literal["1.2", "1.3"] = "1.3"
    handshakes: Literal["full", "resumed"] | None = None
    """A request is a whole connection, and so an answer a handshake; see shakes.c."""


class Report(msgspec.Struct):
    """What the clients saw since the last reset; see loadgen.c."""

    seconds: float
    answers: int
    errors: int
    closed: int
    missed: int
    p50_us: int
    p99_us: int
    worst_us: float
    gap_p50_ms: float
    gap_p99_ms: float
    gap_ms: float


def build() -> Path:
    """The program."""
    return compiled("loadgen", SOURCES, [HERE / "loadgen.h"], ["-lssl", "-lcrypto"])


class LoadGenerator(Program):
    """Clients of the proxy on port `target`, and its upstream on port `upstream` (None: another one has it)."""

    def __init__(
        self,
        protocol: Protocol,
        upstream: int | None,
        target: int,
        connections: int,
        *,
        tls: Tls | None = None,
        size: int = KILOBYTE,
    ) -> None:
        spoken, depth = SPOKEN.get(protocol, (protocol, 1))
        argv: list[object] = [build(), "--protocol", spoken, "--depth", depth]
        argv += ["--target", target, "--connections", connections, "--size", size]
        if tls is not None:
            argv += ["--tls", tls.version]
            if tls.handshakes:
                argv += ["--handshakes", tls.handshakes]
        if upstream is not None:
            argv += ["--listen", upstream]
        self.connections = connections
        super().__init__(argv)
        if upstream is not None:
            self.expect("listening")

    def __enter__(self) -> Self:
        return self.connect()

    def connect(self) -> Self:
        """Return when every connection was used once."""
        self.expect("ready")
        return self

    def load(self, busy: int, rate: float = 0) -> None:
        """So many connections go on asking, with `rate` requests a second in all; 0: as fast as answers come."""
        self.say(f"load {busy} {rate}")

    def load_open(self, busy: int, rate: float) -> None:
        """`rate` requests a second go over so many connections, whether answers come or not, and wait if none is idle.

        Latencies are from the moment a request was due. The program takes a whole core for it.
        """
        self.say(f"open {busy} {rate}")

    def reset(self) -> None:
        """Begin a window."""
        self.say("reset")
        self.expect("reset")

    def report(self) -> Report:
        """What happened in the window so far."""
        self.say("report")
        return msgspec.convert(self.expect("report"), Report)

    def sweep(self) -> int:
        """One request on every connection; how many were not answered, because the connection was lost."""
        self.say("sweep")
        return self.connections - int(self.expect("swept")["answered"])
