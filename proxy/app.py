"""The application behind the proxy: whether it lives, and what it means if it does not.

    unknown --success--> alive --`failures` in a row--> dead
                           `---------<--success---------'

The judgement is a value and moves in a handover; the check under way does not: it is cancelled by the freeze, counts
for nothing, and the next one comes from whoever owns then (`proxy.heartbeat` does the I/O). Nothing is announced that
was never seen alive; nothing is closed that was never found dead.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy import ondemand
from proxy.multiplexed.wire import BadFrame
from proxy.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.acceptor import Acceptor
    from proxy.config.model import AppConfig
    from proxy.listener import Listener

UNKNOWN, ALIVE, DEAD = "unknown", "alive", "dead"

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")
_OVER_HTTP2: Final = frozenset({"http2", "grpc"})
_LONGEST_STATUS: Final = 64
_LONGEST_ANSWER: Final = 4096


class Heart(Protocol):
    """Does the checks of one application. `told` is called with the reason of a failure, empty for a success."""

    def start(self, config: AppConfig, told: Callable[[str], None]) -> None:
        """Check now, and then again and again."""

    def stop(self) -> None:
        """No further check, and no further word of the one under way."""


class App:
    """The watch over one application. Without a configuration it does nothing, and everything is well."""

    def __init__(self, acceptor: Acceptor, heart: Callable[[], Heart]) -> None:
        self.config: AppConfig | None = None
        self.state = UNKNOWN
        self.streak = 0
        """Failures in a row."""
        self.checks = 0
        self.why = ""
        """Of the last failure in that row."""
        self._acceptor = acceptor
        self._make = heart
        self._heart: Heart | None = None
        self._running = False
        self._listeners: Callable[[], Iterable[Listener]] = tuple
        self.changed: Callable[[], object] = tuple
        """Called after each check: other processes may have to know."""

    def configure(self, config: AppConfig | None, listeners: Callable[[], Iterable[Listener]]) -> None:
        """Watch this one from now on; what is known of it stays known if it is the same."""
        running = self._running
        self.stop()
        same = config is not None and self.config is not None and config.address == self.config.address
        if not same:
            self.state, self.streak, self.checks, self.why = UNKNOWN, 0, 0, ""
        self.config, self._listeners = config, listeners
        if running:
            self.start()

    @property
    def trouble(self) -> str:
        """Why the proxy should not be sent anything; empty if all is well."""
        if self.config is None or self.state == ALIVE:
            return ""
        return f"the application {self.config.address} is {self.state}{': ' + self.why if self.why else ''}"

    # ---- who owns ----

    def start(self) -> None:
        """This generation owns and ticks: check, and keep the service port as it should be."""
        if not self._running:
            self._running = True
            self.apply()
            if self.config is not None:
                self._heart = self._make()
                self._heart.start(self.config, self.told)

    def stop(self) -> None:
        """It does not, or not now."""
        self._running = False
        if self._heart is not None:
            self._heart.stop()
            self._heart = None

    def told(self, failure: str) -> None:
        """A check is over."""
        config = self.config
        if config is None:
            return
        self.checks += 1
        self.why = failure
        if failure:
            self.streak += 1
            if self.streak >= config.failures:
                self.state = DEAD
        else:
            self.streak = 0
            self.state = ALIVE
        self.apply()
        self.changed()

    def apply(self) -> None:
        """Again after each check: a socket may have been told to listen in the course of a handover."""
        config = self.config
        dead = config is not None and self.state == DEAD
        for listener in self._listeners():
            if dead and config is not None and (config.listeners is None or listener.name in config.listeners):
                self._acceptor.turn_away(listener, config.when_dead)
            else:
                self._acceptor.turn_away(listener, "announce")

    # ---- the value ----

    def save(self) -> AppState | None:
        """See `proxy.state.AppState`."""
        if self.config is None:
            return None
        return AppState(str(self.config.address), self.state, self.streak, self.checks, self.why)

    def load(self, saved: AppState | None) -> None:
        """The counterpart. What was known of another application says nothing about this one."""
        if saved is not None and self.config is not None and saved.address == str(self.config.address):
            self.state, self.streak, self.checks, self.why = saved.state, saved.streak, saved.checks, saved.why

    def status(self) -> dict[str, Any] | None:
        """For people."""
        config = self.config
        if config is None:
            return None
        return {
            "address": str(config.address),
            "check": config.check,
            "state": self.state,
            "failures": self.streak,
            "checks": self.checks,
            "why": self.why,
            "when_dead": config.when_dead,
        }


# ---- what is asked, and what counts as an answer ----


def question(config: AppConfig) -> bytes:
    """What a check sends once it is connected; nothing if that is all."""
    host = _host(config)
    if config.check in _OVER_HTTP2:
        asked: bytes = ondemand.asking().question(config.path, host, grpc=config.check == "grpc")
        return asked
    if config.check == "http":
        lines = (f"GET {config.path} HTTP/1.1", f"Host: {host}", "User-Agent: hotswap", "Connection: close", "", "")
        return "\r\n".join(lines).encode()
    wire = ondemand.wire(config.check)
    return b"" if wire is None else wire.heartbeat(1, 1)


def _host(config: AppConfig) -> str:
    return "localhost" if str(config.address).startswith("unix:") else str(config.address)


def answer(config: AppConfig, data: bytes, *, ended: bool) -> str | None:
    """What the bytes so far say: empty for alive, else the reason; None: read on."""
    verdict: str | None = None
    if config.check in _OVER_HTTP2:
        verdict = ondemand.asking().answer(config.path, _host(config), data, grpc=config.check == "grpc")
    elif config.check == "http":
        status = _STATUS.match(data)
        if status is not None:
            verdict = "" if int(status[1]) < 400 else f"it answered {config.path} with {int(status[1])}"
        elif len(data) >= _LONGEST_STATUS:
            verdict = "it does not speak HTTP"
    elif (wire := ondemand.wire(config.check)) is not None:
        try:
            if any(head.answers for head, _ in wire.frames(data)):
                verdict = ""
        except BadFrame as error:
            verdict = f"it does not speak {config.check}: {error}"
        if verdict is None and len(data) >= _LONGEST_ANSWER:
            verdict = "it does not answer a heartbeat"
    if verdict is None and ended:
        verdict = "it closed the connection without an answer"
    return verdict
