"""What a listener writes its access log to, and all of a proxy's sinks together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from proxy.accesslog.record import Record, of_call, of_invocation, of_request
from proxy.accesslog.template import USUAL, End, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proxy.config.model import ListenerConfig
    from proxy.http1.message import RequestHead
    from proxy.sides import Downstream


class Sink(Protocol):
    """Takes lines and never waits. See `proxy.accesslog.sinks`."""

    def put(self, line: bytes) -> None:
        """Write this line before long, or drop and count it."""

    def start(self) -> None:
        """This process owns: lines may be written from here on. Once more is no harm."""

    def flush(self) -> None:
        """Write what waits soon."""

    def reopen(self) -> None:
        """Open the target anew by its name."""

    def close(self) -> None:
        """Write what waits, within seconds, and close."""

    def status(self) -> dict[str, Any]:
        """For people."""


class Clocks(Protocol):
    """The part of `proxy.kernel.Kernel` that is needed here."""

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic seconds."""

    @property
    def wall(self) -> Callable[[], float]:
        """Seconds since 1970."""

    def sink(self, target: str) -> Sink:
        """An open sink. Raises `ConfigError`."""


class AccessLog:
    """The access log of one listener."""

    __slots__ = ("_asks_tls", "_clocks", "_headers", "_listener", "_protocol", "_sink", "_template")

    def __init__(self, config: ListenerConfig, sink: Sink, clocks: Clocks) -> None:
        """`config` has an ``access_log``."""
        settings = config.access_log
        if settings is None:
            raise ValueError("no access log is configured: a bug")
        self._listener = config.name
        self._protocol = config.protocol
        self._sink = sink
        self._clocks = clocks
        self._template = Template(settings.template or USUAL[config.protocol], json=settings.format == "json")
        self._headers = self._template.headers
        self._asks_tls = self._template.asks_tls

    def request(self, head: RequestHead, now: float) -> Record:
        """A request begins: what is to be kept of it."""
        return of_request(head, self._headers, now)

    def call(self, headers: Mapping[bytes, bytes], kind: str, size: int, now: float) -> Record:
        """A bolt call begins."""
        return of_call(headers, kind, size, self._headers, now)

    @property
    def asks_headers(self) -> bool:
        """The template has fields of the request."""
        return bool(self._headers)

    def invocation(
        self,
        interface: bytes,
        version: bytes,
        method: bytes,
        attachments: Mapping[bytes, bytes],
        kind: str,
        size: int,
        now: float,
    ) -> Record:
        """A Dubbo call begins."""
        record = of_invocation(interface, version, method, kind, size, now)
        if self._headers:
            named = {name.lower(): value for name, value in attachments.items()}
            there = {name: named.get(name.encode()) for name in self._headers}
            record.headers = {name: text.decode("utf-8", "replace") for name, text in there.items() if text is not None}
        return record

    def write(self, record: Record, client: Downstream, outcome: str, now: float) -> None:
        """The request is over."""
        tls = client.tls.describe() if self._asks_tls and client.tls is not None else None
        duration = now - record.began
        began = self._clocks.wall() - (self._clocks.clock() - record.began)
        self._sink.put(
            self._template.line(
                record, End(self._listener, self._protocol, client.remote, outcome, began, duration, tls)
            )
        )


class Sinks:
    """One sink for each target, whoever writes to it."""

    __slots__ = ("_clocks", "_sinks", "_started")

    def __init__(self, clocks: Clocks, listeners: Iterable[ListenerConfig] = ()) -> None:
        """Raises `ConfigError`."""
        self._clocks = clocks
        self._sinks: dict[str, Sink] = {}
        self._started = False
        self.open(listeners)

    def open(self, listeners: Iterable[ListenerConfig]) -> None:
        """Open what is not open yet. Raises `ConfigError`."""
        for one in listeners:
            if one.access_log is not None and one.access_log.to not in self._sinks:
                self._sinks[one.access_log.to] = sink = self._clocks.sink(one.access_log.to)
                if self._started:
                    sink.start()

    def log(self, config: ListenerConfig) -> AccessLog | None:
        """For a listener whose target is open."""
        if config.access_log is None:
            return None
        return AccessLog(config, self._sinks[config.access_log.to], self._clocks)

    def start(self) -> None:
        """See `Sink`."""
        self._started = True
        for sink in self._sinks.values():
            sink.start()

    def flush(self) -> None:
        """See `Sink`."""
        for sink in self._sinks.values():
            sink.flush()

    def reopen(self) -> None:
        """See `Sink`."""
        for sink in self._sinks.values():
            sink.reopen()

    def close(self) -> None:
        """See `Sink`."""
        for sink in self._sinks.values():
            sink.close()

    def status(self) -> list[dict[str, Any]]:
        """For people."""
        return [{"to": target, **sink.status()} for target, sink in self._sinks.items()]
