"""Clients before the proxy: a process of their own that keeps every connection going and forgives nothing.

A connection that is closed, reset, refused, silent for too long, or brings one wrong byte is a `Failure`
with the time, the connection and what it was doing. What the connections do:

    busy          keep-alive requests, together `rate` a second, every body checked by CRC
    idle          one request, then silence; one more request at the end proves that it lives
    streams       responses of `stream_seconds` in CRC-chained frames, one after the other
    uploads       half a body, a pause, the rest; the upstream tells the CRC it saw
    websockets    a tunnel of echoed messages in CRC-chained frames
    raw           TCP with CRC-chained frames both ways
    fresh         a connection for each request, together `fresh_rate` a second
    bolt          `bolt_calls` calls under way each, together `bolt_rate` a second, in all dialects
    dubbo         the same of Dubbo

With `tls`, the file of an authority, all of them speak TLS and require a certificate of it for `edge.test`: half of
each kind TLS 1.2, half 1.3.

The load goes on until `stop`, which finishes every exchange, proves every connection once more, and closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Self

import msgspec

from tests.kit.companion import Companion

Cause = Literal["refused", "reset", "closed", "corrupt", "status", "silent", "other"]


class Plan(msgspec.Struct, kw_only=True):
    """How many connections of each kind, and where to. Times in seconds."""

    http: str = ""
    tcp: str = ""
    bolt_address: str = ""
    dubbo_address: str = ""
    busy: int = 0
    idle: int = 0
    streams: int = 0
    uploads: int = 0
    websockets: int = 0
    raw: int = 0
    bolt: int = 0
    dubbo: int = 0
    fresh: int = 0
    rate: float = 400.0
    raw_rate: float = 250.0
    bolt_rate: float = 500.0
    dubbo_rate: float = 500.0
    fresh_rate: float = 50.0
    bolt_calls: int = 16
    dubbo_calls: int = 16
    stream_seconds: float = 10.0
    upload_bytes: int = 100_000
    upload_pause: float = 3.0
    patience: float = 15.0
    reconnect: bool = False
    tls: str = ""

    def scaled(self, share: float) -> Plan:
        """The same mixture with fewer connections, at least one of each kind there is."""
        counts = {kind: max(1, round(getattr(self, kind) * share)) for kind in KINDS if getattr(self, kind)}
        rates = {
            name: getattr(self, name) * share for name in ("rate", "raw_rate", "bolt_rate", "dubbo_rate", "fresh_rate")
        }
        return msgspec.structs.replace(self, **counts, **rates)

    def only(self, *kinds: str) -> Plan:
        """The same without connections of other kinds."""
        return msgspec.structs.replace(self, **dict.fromkeys(set(KINDS) - set(kinds), 0))


KINDS = ("busy", "idle", "streams", "uploads", "websockets", "raw", "bolt", "dubbo", "fresh")


class Failure(msgspec.Struct):
    """One thing that must not happen. `when` is in seconds since the load was ready."""

    when: float
    kind: str
    index: int
    cause: Cause
    doing: str
    text: str


class Report(msgspec.Struct):
    """What the clients saw. `exchanges`, `connected` and `longest_gap` (in seconds) are by kind.

    The gap of a busy connection is the longest time from a request to its complete response, that of a
    stream the longest silence in it. `calls` is what the bolt and dubbo clients sent: `call`, `oneway`, `heartbeat`.
    """

    seconds: float
    exchanges: dict[str, int]
    connected: dict[str, int]
    longest_gap: dict[str, float]
    calls: dict[str, int]
    failures: list[Failure]
    failed: int

    def of_cause(self, *causes: Cause) -> list[Failure]:
        """The failures with one of these causes."""
        return [failure for failure in self.failures if failure.cause in causes]

    def summary(self) -> str:
        """One line for people."""
        worst = max(self.longest_gap.values(), default=0.0) * 1000
        total = sum(self.exchanges.values())
        return f"{total} exchanges in {self.seconds:.1f} s, {self.failed} failed, longest gap {worst:.0f} ms"


class Load:
    """The running clients. A context manager that starts them and, whatever happens, ends them."""

    def __init__(self, plan: Plan, through: Sequence[str] = ()) -> None:
        self.plan = plan
        self._companion = Companion("tests.kit.load_process", plan, through)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._companion.pid

    def wait(self, *, within: float = 30) -> Self:
        """Until every connection has had its first exchange, or its first half of one."""
        self._companion.line(within=within)
        return self

    def report(self) -> Report:
        """So far."""
        return self._ask({"do": "report"}, within=10)

    def turn(self, *, within: float = 20) -> Report:
        """Wait until every connection that moves has moved again: nothing hangs. Failures tell which did not."""
        return self._ask({"do": "turn", "within": within}, within=within + 10)

    def finish(self, *, within: float = 40) -> Report:
        """Finish every exchange, prove every connection once more, close them all."""
        return self._ask({"do": "finish", "within": within}, within=within + 10)

    def stop(self) -> None:
        """End the process."""
        self._companion.stop()

    def _ask(self, question: dict[str, str | float], *, within: float) -> Report:
        return msgspec.json.decode(self._companion.ask(question, within=within), type=Report)

    def __enter__(self) -> Self:
        return self.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
