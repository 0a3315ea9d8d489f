"""The filters of a listener and of a route in the life of a request (docs/filters.md).

head --> filters --verdict--> none: route, its filters, and on        answer: reply        abort: reset
           ^          `-----> delay: DELAY, with the head in `held`
           `----- the deadline passed: on with the next filter
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.filters.api import Abort, Delay
from proxy.filters.chain import BROKEN, broken
from proxy.http1.errors import BadMessage
from proxy.http1.exchange import Exchange
from proxy.http1.parser import parse_request
from proxy.http1.states import MOVES, Event, Step

if TYPE_CHECKING:
    from proxy.filters.api import Verdict
    from proxy.filters.chain import Chain
    from proxy.http1.message import RequestHead, ResponseHead
    from proxy.plane import Plane
    from proxy.route import Route


class Passage(NamedTuple):
    """What filters made of a request, beside its head."""

    verdict: Verdict
    wishes: tuple[str, ...]
    """Clusters that are to get a copy."""
    route: Route | None
    """None: not looked for yet."""


class Filtered(Exchange):
    """A client connection whose listener and routes may have filters."""

    __slots__ = ("lane", "wishes")

    def fresh(self, plane: Plane) -> None:
        """See `Connection`."""
        super().fresh(plane)
        self.lane = ""
        """The route whose filters the request under way passes, if it has any."""
        self.wishes: tuple[str, ...] = ()
        """In DELAY: clusters that are to get a copy, as far as is known."""

    def _filter(self, text: bytes, data: bytes, first: int = 0) -> bytes:
        """Pass the head ``text`` through the filters from ``first`` on; ``data`` follows it. See `_serve`."""
        limit = self.listener.config.max_headers
        head = parse_request(text, limit)
        now = self.plane.now
        log_to = self.listener.access_log
        if self.record is None and log_to is not None:
            self.record = log_to.request(head, now)
        if not first:
            self.notes, self.lane = {}, ""
        wishes = list(self.wishes)
        self.wishes = ()
        listener, route, verdict, number = self.listener, None, None, 0
        if self.lane:  # after a delay by one of its filters
            route = listener.routes.of_lane(self.lane)
        else:
            if listener.filters is not None and listener.filters.requests:
                verdict, number, text, head = self._pass(listener.filters, first, text, head, wishes)
            if verdict is None and listener.lanes:
                route = listener.routes.find(head.host, head.path, head.lines)
                self.lane = "" if route is None else route.lane
            first = 0
        chain = listener.lanes.get(self.lane) if self.lane else None
        if verdict is None and chain is not None:
            verdict, number, text, head = self._pass(chain, first, text, head, wishes)
        if isinstance(verdict, Delay):
            self.held = text
            self.filtered = number + 1
            self.wishes = tuple(wishes)
            self.step = MOVES[Event.DELAY][self.step]
            self.deadline = now + verdict.seconds
            self.wake(self.deadline)
            return data
        return self._serve(head, data, Passage(verdict, tuple(wishes), route))

    def _pass(
        self, chain: Chain, first: int, text: bytes, head: RequestHead, wishes: list[str]
    ) -> tuple[Verdict, int, bytes, RequestHead]:
        """Through the filters of one chain: the verdict, who gave it, and the head as it is then."""
        verdict, number, edited = chain.request(text, self.remote, self.notes, first, self.plane.now, copies=wishes)
        if edited != text:
            try:
                head = parse_request(edited, self.listener.config.max_headers)
            except BadMessage as why:
                broken("the edits of a filter", why)
                return BROKEN, number, text, head
        return verdict, number, edited, head

    def filter_response(self, head: ResponseHead) -> None:
        """Those of the route first: responses pass in reverse."""
        listener = self.listener
        if listener.filters is None:
            return
        for chain in (listener.lanes.get(self.lane), listener.filters):
            if chain is not None and chain.responses:
                edited = chain.response(head.raw, self.notes, self.plane.now)
                if edited is None:
                    raise BadMessage(500, "a filter failed")
                head.raw = edited

    def _go_on(self) -> None:
        """The delay is over: on with the next filter."""
        text, self.held = self.held, b""
        data, self.inbox = self.inbox, b""
        self.resume()
        try:
            data = self._filter(text, data, self.filtered)
        except BadMessage as why:  # the limits were changed meanwhile
            self.meters = self.listener.meters.unrouted
            self._reply(why.status, why.reason, keep=False)
        if self.step is not Step.LINGER:
            self._take(data)
            if self.left and self.eof:
                self.ended()

    def _refuse(self, verdict: Verdict) -> None:
        """The request is not for an upstream: a filter decided so."""
        if isinstance(verdict, Abort):
            self.step = MOVES[Event.LAST][self.step]
            self.left = 0
            self.reset()
        elif verdict is not None and not isinstance(verdict, Delay):
            self.step = MOVES[Event.REQUEST][self.step]
            fields = "".join(f"{name}: {value}\r\n" for name, value in verdict.headers)
            self._reply(verdict.status, "refused here", text=verdict.text, fields=fields)

    def _serve(self, head: RequestHead, data: bytes, passage: Passage | None = None) -> bytes:
        raise NotImplementedError

    def _take(self, data: bytes) -> None:
        raise NotImplementedError
