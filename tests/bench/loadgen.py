"""Build the load generator (loadgen.c) and talk to it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import msgspec

from tests.kit.waiting import readable

HERE = Path(__file__).parent
SOURCES = [HERE / name for name in ("loadgen.c", "clients.c", "upstream.c", "bolt.c", "tls.c", "shakes.c")]
BUILD = HERE / "build"
KILOBYTE = 1024
PATIENCE = 60.0  # seconds for any answer

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
    """Compile it, unless this very source was compiled before; the program."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in [*SOURCES, HERE / "loadgen.h"])).hexdigest()[:16]
    program = BUILD / f"loadgen-{digest}"
    if not program.exists():
        BUILD.mkdir(exist_ok=True)
        fresh = program.with_suffix(".new")
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", fresh, *SOURCES, "-lssl", "-lcrypto"], check=True)
        fresh.rename(program)
    return program


class LoadGenerator:
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
        argv = [build(), "--protocol", spoken, "--depth", depth, "--target", target, "--connections", connections]
        argv += ["--size", size]
        if tls is not None:
            argv += ["--tls", tls.version]
            if tls.handshakes:
                argv += ["--handshakes", tls.handshakes]
        if upstream is not None:
            argv += ["--listen", upstream]
        self.connections = connections
        self._process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if upstream is not None:
            self._expect("listening")

    def __enter__(self) -> Self:
        return self.connect()

    def connect(self) -> Self:
        """Return when every connection was used once."""
        self._expect("ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it, and with it every connection."""
        self._process.kill()
        self._process.communicate()

    def load(self, busy: int, rate: float = 0) -> None:
        """So many connections go on asking, with `rate` requests a second in all; 0: as fast as answers come."""
        self._say(f"load {busy} {rate}")

    def load_open(self, busy: int, rate: float) -> None:
        """`rate` requests a second go over so many connections, whether answers come or not, and wait if none is idle.

        Latencies are from the moment a request was due. The program takes a whole core for it.
        """
        self._say(f"open {busy} {rate}")

    def reset(self) -> None:
        """Begin a window."""
        self._say("reset")
        self._expect("reset")

    def report(self) -> Report:
        """What happened in the window so far."""
        self._say("report")
        return msgspec.convert(self._expect("report"), Report)

    @property
    def pid(self) -> int:
        """Of the program."""
        return self._process.pid

    def sweep(self) -> int:
        """One request on every connection; how many were not answered, because the connection was lost."""
        self._say("sweep")
        return self.connections - int(self._expect("swept")["answered"])

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def _expect(self, event: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        # One line is awaited at a time, so none is left in the buffer of the text layer.
        if not readable(self._process.stdout.fileno(), within=PATIENCE):
            raise TimeoutError(f"the load generator said nothing: {event} was awaited")
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"the load generator ended, with {self._process.wait()}: {event} was awaited")
        answer = msgspec.json.decode(line, type=dict[str, Any])
        assert answer["event"] == event, answer
        return answer
