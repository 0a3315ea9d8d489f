"""The filters of one listener, sorted by what they look at. A filter that raises costs one request, and is logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from hotswap.errors import ConfigError
from hotswap.log import fields
from proxy.filters.api import Abort, Answer, Client, Delay, Filter, Request, Response, Verdict
from proxy.filters.registry import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.config.model import FilterConfig
    from proxy.listener import Listener

log = logging.getLogger("proxy")

BROKEN: Final = Answer(500, "500 Internal Server Error: a filter failed\n")

Notes = dict[str, dict[str, Any]]
"""Filter -> what it remembers of a request, or of a tcp connection."""

Way = Literal["received", "sent"]
"""Which way bytes go: the method of `Filter` that sees them."""

_plain = msgspec.msgpack.Encoder().encode


class Chain:
    """Filters in the order of the configuration; responses pass them in reverse."""

    __slots__ = ("_accepts", "_all", "_bytes", "_protocol", "_requests", "_responses", "requests", "responses")

    def __init__(self, configs: Sequence[FilterConfig], protocol: str, prefix: str = "") -> None:
        """`prefix` tells notes of several chains apart. Raises `ConfigError`."""
        self._protocol = protocol
        self._all: dict[str, Filter] = {}
        for one in configs:
            name = prefix + one.name
            same = sum(key.partition("#")[0] == name for key in self._all)
            try:
                self._all[f"{name}#{same}" if same else name] = build(one.name, one.config)
            except Exception as bug:  # strangers write filters
                raise ConfigError(f"the filter {one.name} cannot be made: {bug!r}") from bug
        self._accepts = [(key, one) for key, one in self._all.items() if one.has("accepted")]
        received = [(key, one.received) for key, one in self._all.items() if one.has("received")]
        sent = [(key, one.sent) for key, one in reversed(self._all.items()) if one.has("sent")]
        self._bytes = {"received": received, "sent": sent}
        self._requests = [(key, one) for key, one in self._all.items() if one.has("request")]
        self._responses = [(key, one) for key, one in reversed(self._all.items()) if one.has("response")]
        self.requests = bool(self._requests)
        """Any of them looks at requests."""
        self.responses = bool(self._responses)

    def admit(self, host: str, notes: Notes, first: int, now: float) -> tuple[Abort | Delay | None, int]:
        """Pass a connection through the filters from number `first`; `notes` is altered.

        Returns the first verdict that is not None with the number of its filter.
        """
        for number, (key, one) in enumerate(self._accepts[first:], first):
            client = Client(host, self._protocol, notes.get(key, {}))
            try:
                verdict = one.accepted(client, now)
                _keep(key, client.notes, notes)
            except Exception as bug:  # noqa: BLE001 - strangers write filters
                broken(key, bug)
                verdict = Abort()
            if verdict is not None:
                return verdict, number
        return None, len(self._accepts)

    def relay(self, way: Way, data: bytes, host: str, notes: Notes, now: float) -> bytes | None:
        """Pass bytes through; none are a FIN. `notes` is altered. Returns what goes on, None to end the connection."""
        fin = not data
        for key, look in self._bytes[way]:
            client = Client(host, self._protocol, notes.get(key, {}))
            try:
                result = look(data, client, now) if data else None
                if fin and not isinstance(result, Abort):  # after what earlier filters gave out at the end
                    data = data if result is None else result
                    last = look(b"", client, now)
                    result = last if isinstance(last, Abort) else data + (last or b"")
                if result is not None and not isinstance(result, Abort):
                    data = bytes(memoryview(result))
                _keep(key, client.notes, notes)
            except Exception as bug:  # noqa: BLE001
                broken(key, bug)
                return None
            if isinstance(result, Abort):
                return None
            if not data and not fin:
                break  # it keeps everything
        return data

    def request(
        self,
        text: bytes,
        client: str,
        notes: Notes,
        first: int,
        now: float,
        make: Callable[[bytes, dict[str, Any], str], Request] = Request,
        copies: list[str] | None = None,
    ) -> tuple[Verdict, int, bytes]:
        """Pass a request through the filters from number `first`; `notes` is altered. `make` reads its head.

        Clusters that are to get a copy are appended to `copies`; None: this protocol has none.

        Returns the first verdict that is not None with the number of its filter, and the head as it is then.
        """
        number = first
        for key, one in self._requests[first:]:
            request = make(text, notes.get(key, {}), client)
            try:
                verdict = one.request(request, now)
                if request.edited:
                    text = request.text()
                _keep(key, request.notes, notes)
                if request.copies:
                    if copies is None:
                        raise ValueError("requests of this protocol cannot be mirrored")
                    copies.extend(request.copies)
            except Exception as bug:  # noqa: BLE001
                broken(key, bug)
                verdict = BROKEN
            if verdict is not None:
                return verdict, number, text
            number += 1
        return None, number, text

    def response(
        self,
        text: bytes,
        notes: Notes,
        now: float,
        make: Callable[[bytes, dict[str, Any]], Response] = Response,
    ) -> bytes | None:
        """Pass a response's head through; None if a filter failed."""
        for key, one in self._responses:
            response = make(text, notes.get(key, {}))
            try:
                one.response(response, now)
                if response.edited:
                    text = response.text()
            except Exception as bug:  # noqa: BLE001
                broken(key, bug)
                return None
        return text

    def save(self, now: float) -> dict[str, Any]:
        """What the filters keep."""
        saved = {}
        for key, one in self._all.items():
            try:
                state = one.save(now)
                _plain(state)
            except Exception as bug:  # noqa: BLE001 - no filter holds an upgrade up
                broken(key, bug)
                continue
            if state is not None:
                saved[key] = state
        return saved

    def load(self, saved: dict[str, Any], now: float) -> None:
        """The counterpart; filters that are new begin anew."""
        for key, state in saved.items():
            one = self._all.get(key)
            if one is not None:
                try:
                    one.load(state, now)
                except Exception as bug:  # noqa: BLE001 - it begins anew
                    broken(key, bug)


def _keep(key: str, own: dict[str, Any], notes: Notes) -> None:
    """Remember what a filter noted. Raises for what is no plain data, here rather than in the next handover."""
    if own:
        _plain(own)
        notes[key] = own


def broken(key: str, bug: Exception) -> None:
    """A filter raised."""
    log.error("a filter failed", exc_info=bug, extra=fields(filter=key))


def save_all(listeners: Iterable[Listener], now: float) -> dict[str, dict[str, Any]]:
    """What all filters keep, by the address of their listener and the lane of their route."""
    return {one.address + lane: chain.save(now) for one in listeners for lane, chain in one.chains()}


def load_all(listeners: Iterable[Listener], saved: dict[str, dict[str, Any]], now: float) -> None:
    """The counterpart."""
    for one in listeners:
        for lane, chain in one.chains():
            chain.load(saved.get(one.address + lane, {}), now)
