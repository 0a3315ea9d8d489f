"""Calls that somebody looks at one by one: filters, the access log, a route with terms of its own.

call --> filters --verdict--> none: route, and on         answer: an error frame         abort: reset
           ^          `-----> delay: held
           `----- the delay is over: on with the next filter

A held call keeps nobody waiting: those behind it go on, answers come in any order. A listener without any of this
never comes here, its calls pass in runs (`proxy.bolt.downstream`).
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final

from proxy.filters.api import Abort, Delay
from proxy.filters.chain import BROKEN, broken
from proxy.multiplexed.state import About, Held
from proxy.multiplexed.value import SavedClient
from proxy.multiplexed.wire import BadFrame

if TYPE_CHECKING:
    from proxy.multiplexed.ledger import Call, Ledger
    from proxy.multiplexed.upstream import MultiplexedUpstream
    from proxy.multiplexed.wire import Head

LOWEST_HTTP: Final = 100
"""Statuses below are the protocol's own."""
MAX_CALLS: Final = 65536
"""Calls under way on one upstream connection; further ones are refused as busy."""
PASSED: Final = 1 << 30
"""Behind the last filter."""


class Attended(SavedClient):
    """A client connection whose calls may be looked at."""

    __slots__ = ()

    upstream: ClassVar[type[MultiplexedUpstream]]
    """The class of the connections that its calls share."""

    def take_each(self, buffer: bytearray) -> None:
        """As `take`, frame by frame. Raises `BadFrame`."""
        at = 0
        # Not `paused`: when there is room again what is here is taken first, and reading goes on afterwards.
        while at < len(buffer) and not (self.blockers or self.clogged or self.full or self.closed):
            end = self.other(buffer, at)
            if end == at:
                break
            at = end
        if at < len(buffer) and not self.closed:
            self.inbox.rest = buffer[at:]

    def other(self, buffer: bytearray, at: int) -> int:
        """Any frame, and one that is not complete. Returns its end, `at` if more must come. Raises `BadFrame`."""
        raise NotImplementedError

    def attend(self, frame: bytearray, head: Head) -> None:
        """A whole call or oneway call."""
        chain = self.listener.filters
        text = self.wire.text(frame, head)
        about = self.about(text, head)
        if chain is not None and chain.requests and not self.wire.readable(text):
            self._refuse(head, about, self.wire.unreadable)
            return
        timed = head.wants_answer and head.patience > 0
        until = self.plane.now + head.patience if timed else inf
        self._filter(frame, head, 0, until, about)

    def about(self, text: bytes, head: Head, *, pushed: bool = False) -> About:
        """What is to be known of a call that begins."""
        log = self.listener.access_log
        if log is None:
            return About()
        kind = "push" if pushed else "call" if head.wants_answer else "oneway"
        return About(self.wire.record(log, text, kind, head.payload, self.plane.now))

    def about_pushed(self, upstream: Ledger, frame: bytearray, head: Head) -> About | None:
        """The same for a request of a server."""
        if self.listener.access_log is None:
            return None
        about = self.about(self.wire.text(frame, head), head, pushed=True)
        if about.record is not None:
            about.record.cluster = upstream.endpoint.cluster.name
            about.record.endpoint = upstream.endpoint.name
        if not head.wants_answer:
            self.tell(about, "ok")
        return about

    def _filter(self, frame: bytearray, head: Head, first: int, until: float, about: About) -> None:
        """Pass a call through the filters from ``first`` on."""
        chain = self.listener.filters
        if chain is not None and chain.requests:
            now = self.plane.now
            text = self.wire.text(frame, head)
            verdict, number, edited = chain.request(text, self.remote, about.notes, first, now, self.wire.call)
            if edited != text:
                try:
                    frame, head = self._changed(frame, head, edited)
                except ValueError as why:
                    broken("the edits of a filter", why)
                    verdict = BROKEN
            if isinstance(verdict, Delay):
                self._hold(Held(frame, number + 1, now + verdict.seconds, until, about))
                return
            if isinstance(verdict, Abort):
                self.tell(about, "aborted")
                self.reset()
                self._gone()
                return
            if verdict is not None:
                failed = verdict.status >= 500 or verdict.status < LOWEST_HTTP
                self._refuse(head, about, self.wire.verdict(verdict.status), failed=failed)
                return
        self._dispatch(frame, head, until, about)

    def _dispatch(self, frame: bytearray, head: Head, until: float, about: About) -> None:
        """Send a call where its route leads."""
        listener = self.listener
        try:
            route = listener.services.route(self.wire.text(frame, head))
        except ValueError:
            route = listener.services.routes[0] if listener.services.only is not None else None
            if route is None:
                self._refuse(head, about, self.wire.unreadable)
                return
        if route is None:
            self._refuse(head, about, self.wire.no_route, failed=False)
            return
        cluster = listener.clusters[route.cluster()]
        about.terms = terms = route.terms(cluster.config)
        if about.record is not None:
            about.record.cluster = cluster.name
        if cluster.limits is not None and cluster.limits.busy():
            self._refuse(head, about, self.wire.busy, route=route.label)
            return
        chosen = self.upstream.connect(self.plane, cluster, head.version, (), terms.subset if terms is not None else ())
        if chosen is None or len(chosen.calls) >= MAX_CALLS:
            self._refuse(head, about, self.wire.not_sent if chosen is None else self.wire.busy, route=route.label)
            return
        if chosen.clogged:  # this call waits here until that can get rid of what it has
            self._hold(Held(frame, PASSED, inf, until, about))
            self.block(chosen)
            return
        if until == inf and head.wants_answer:
            until = self.plane.now + max((terms or cluster.config).request_timeout, self.wire.patience(frame))
        chosen.add(frame, head, (self, head.id, until, head.codec, head.ver1, about, self.plane.now, route.label))
        if not head.wants_answer:
            self.tell(about, "ok")

    def _refuse(
        self, head: Head, about: About, status: int, *, failed: bool = True, late: bool = False, route: str = ""
    ) -> None:
        """A call that goes nowhere. `late`: its time is up; `route`: what metrics call its route."""
        self.listener.answered += 1
        self.listener.failed += failed
        self.tell(about, "own", status)
        if head.wants_answer:
            self.count_error(route, late=late)
            self.send(self.wire.error(head.id, head.codec, head.ver1, status))
            if self.clogged:
                self._slow()

    # ---- calls that wait ----

    def _hold(self, held: Held) -> None:
        self.held.append(held)
        self.changes += 1
        self.wake(min(held.when, held.until))
        if self.full:
            self.pause()

    def release(self, now: float) -> None:
        """See `Client.release`."""
        waiting, self.held = self.held, []
        self.changes += 1
        for one in waiting:
            if self.closed:
                self.tell(one.about, "aborted")
                continue
            head = self.wire.read_head(one.frame, 0)
            if head is None:
                raise BadFrame("a held call is cut: a bug")
            if one.until <= now:
                self._refuse(head, one.about, self.wire.timeout, late=True)
            elif one.when <= now or (now == -inf and one.when == inf):
                self._filter(one.frame, head, one.filtered, one.until, one.about)
            else:
                self.held.append(one)

    # ---- answers ----

    def reply(self, frame: bytearray, call: Call) -> None:
        """See `Client.reply`."""
        wire, about, chain = self.wire, call[5], self.listener.filters
        head = wire.read_head(frame, 0)
        if head is None or about is None:
            raise BadFrame("an answer is cut, or nobody looks at it: a bug")
        wire.renumber(frame, head, call[1])
        if chain is not None and chain.responses:
            text = wire.text(frame, head)
            try:
                edited = chain.response(text, about.notes, self.plane.now, partial(wire.answer, status=head.status))
                if edited is not None and edited != text:
                    frame, _ = self._changed(frame, head, edited)
            except ValueError as why:  # what filters read cannot be read, or has become too long
                broken("an answer", why)
                edited = None
            if edited is None:
                self.fail(call, wire.refused)
                return
        if about.record is not None:
            about.record.sent = head.payload
            self.tell(about, "ok", head.status)
        self.count_duration(call)
        self.deliver(frame, 0, len(frame), 1, int(head.status != wire.ok), call[7])

    def _changed(self, frame: bytearray, head: Head, text: bytes) -> tuple[bytearray, Head]:
        """The frame with another text. Raises `ValueError` if that cannot be."""
        changed = self.wire.with_text(frame, head, text)
        again = self.wire.read_head(changed, 0)
        if again is None:
            raise BadFrame("a frame that was edited is cut: a bug")
        return changed, again
