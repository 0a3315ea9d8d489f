"""Calls that somebody looks at one by one: filters, the access log, a route with terms of its own.

call --> filters --verdict--> none: route, and on         answer: an error frame         abort: reset
           ^          `-----> delay: held
           `----- the delay is over: on with the next filter

A held call keeps nobody waiting: those behind it go on, bolt's answers come in any order. A listener without any of
this never comes here, its calls pass in runs (`proxy.bolt.downstream`).
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from proxy.bolt.client import Client, Held
from proxy.bolt.frame import (
    BUSY,
    CODEC,
    NO_PROCESSOR,
    NOT_SENT,
    ONEWAY,
    REQUEST,
    TIMEOUT,
    U32,
    BadFrame,
    error,
    read_head,
    with_header,
    write_crc,
)
from proxy.bolt.headers import read_headers
from proxy.bolt.messages import ERROR, LOWEST_HTTP, AnswerHead, CallHead, bolt_status
from proxy.bolt.state import About
from proxy.bolt.upstream import connect
from proxy.filters.api import Abort, Delay
from proxy.filters.chain import BROKEN, broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.bolt.frame import Head
    from proxy.bolt.ledger import Call, Ledger

MAX_CALLS: Final = 65536
"""Calls under way on one upstream connection; further ones are refused as busy."""
PASSED: Final = 1 << 30
"""Behind the last filter."""


class Attended(Client):
    """A client connection whose calls may be looked at."""

    __slots__ = ()

    def _take_each(self, buffer: bytearray) -> None:
        """As `take`, frame by frame. Raises `BadFrame`."""
        at = 0
        # Not `paused`: when there is room again what is here is taken first, and reading goes on afterwards.
        while at < len(buffer) and not (self.blockers or self.clogged or self.full or self.closed):
            end = self._other(buffer, at)
            if end == at:
                break
            at = end
        if at < len(buffer) and not self.closed:
            self.inbox = buffer[at:]

    def _other(self, buffer: bytearray, at: int) -> int:
        raise NotImplementedError

    def attend(self, frame: bytearray, head: Head) -> None:
        """A whole call or oneway call."""
        chain = self.listener.filters
        try:
            headers = read_headers(header_of(frame, head))
        except ValueError:
            if chain is not None and chain.requests:
                self._refuse(head, self.about({}, head), CODEC)
                return
            headers = {}
        timed = head.type == REQUEST and head.timeout > 0
        until = self.plane.now + head.timeout * 0.001 if timed else inf
        self._filter(frame, head, 0, until, self.about(headers, head))

    def about(self, headers: Mapping[bytes, bytes], head: Head, *, pushed: bool = False) -> About:
        """What is to be known of a call that begins."""
        log = self.listener.access_log
        if log is None:
            return About()
        kind = "push" if pushed else "oneway" if head.type == ONEWAY else "call"
        return About(log.call(headers, kind, head.content_length, self.plane.now))

    def pushed(self, upstream: Ledger, frame: bytearray, head: Head) -> About | None:
        """The same for a request of a server."""
        if self.listener.access_log is None:
            return None
        try:
            headers = read_headers(header_of(frame, head))
        except ValueError:
            headers = {}
        about = self.about(headers, head, pushed=True)
        if about.record is not None:
            about.record.cluster = upstream.endpoint.cluster.name
            about.record.endpoint = upstream.endpoint.name
        if head.type == ONEWAY:
            self.tell(about, "ok")
        return about

    def _filter(self, frame: bytearray, head: Head, first: int, until: float, about: About) -> None:
        """Pass a call through the filters from ``first`` on."""
        chain = self.listener.filters
        if chain is not None and chain.requests:
            now = self.plane.now
            text = header_of(frame, head)
            verdict, number, edited = chain.request(text, self.remote, about.notes, first, now, CallHead)
            if edited != text:
                try:
                    frame, head = _changed(frame, head, edited)
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
                self._refuse(head, about, bolt_status(verdict.status), failed=failed)
                return
        self._dispatch(frame, head, until, about)

    def _dispatch(self, frame: bytearray, head: Head, until: float, about: About) -> None:
        """Send a call where its route leads."""
        listener = self.listener
        try:
            route = listener.services.route(header_of(frame, head))
        except ValueError:
            route = listener.services.routes[0] if listener.services.only is not None else None
            if route is None:
                self._refuse(head, about, CODEC)
                return
        if route is None:
            self._refuse(head, about, NO_PROCESSOR, failed=False)
            return
        cluster = listener.clusters[route.cluster()]
        about.terms = terms = route.terms(cluster.config)
        if about.record is not None:
            about.record.cluster = cluster.name
        if cluster.limits is not None and cluster.limits.busy():
            self._refuse(head, about, BUSY, route=route.label)
            return
        chosen = connect(self.plane, cluster, head.layout.version, (), terms.subset if terms is not None else ())
        if chosen is None or len(chosen.calls) >= MAX_CALLS:
            self._refuse(head, about, NOT_SENT if chosen is None else BUSY, route=route.label)
            return
        if chosen.clogged:  # this call waits here until that can get rid of what it has
            self._hold(Held(frame, PASSED, inf, until, about))
            self.block(chosen)
            return
        if until == inf and head.type == REQUEST:
            until = self.plane.now + (terms or cluster.config).request_timeout
        chosen.add(frame, head, (self, head.id, until, head.codec, head.ver1, about, self.plane.now, route.label))
        if head.type == ONEWAY:
            self.tell(about, "ok")

    def _refuse(
        self, head: Head, about: About, status: int, *, failed: bool = True, late: bool = False, route: str = ""
    ) -> None:
        """A call that goes nowhere. `late`: its time is up; `route`: what metrics call its route."""
        self.listener.answered += 1
        self.listener.failed += failed
        self.tell(about, "own", status)
        if head.type == REQUEST:
            self.count_error(route, late=late)
            self.send(error(head.id, head.codec, head.ver1, status))
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
            head = read_head(one.frame, 0)
            if head is None:
                raise BadFrame("a held call is cut: a bug")
            if one.until <= now:
                self._refuse(head, one.about, TIMEOUT, late=True)
            elif one.when <= now or (now == -inf and one.when == inf):
                self._filter(one.frame, head, one.filtered, one.until, one.about)
            else:
                self.held.append(one)

    # ---- answers ----

    def reply(self, frame: bytearray, call: Call) -> None:
        """See `Client.reply`."""
        head, about, chain = read_head(frame, 0), call[5], self.listener.filters
        if head is None or about is None:
            raise BadFrame("an answer is cut, or nobody looks at it: a bug")
        U32.pack_into(frame, head.layout.id_at, call[1])
        if head.has_crc:
            write_crc(frame, 0, len(frame))
        if chain is not None and chain.responses:
            text = header_of(frame, head)
            try:
                edited = chain.response(text, about.notes, self.plane.now, partial(AnswerHead, status=head.timeout))
                if edited is not None and edited != text:
                    frame, _ = _changed(frame, head, edited)
            except ValueError as why:  # the map cannot be read, or has become too long
                broken("the header of an answer", why)
                edited = None
            if edited is None:
                self.fail(call, ERROR)
                return
        if about.record is not None:
            about.record.sent = head.content_length
            self.tell(about, "ok", head.timeout)
        self.count_duration(call)
        self.deliver(frame, 0, len(frame), 1, int(head.timeout != 0), call[7])


def header_of(frame: bytearray, head: Head) -> bytes:
    """The header map in a frame."""
    start = head.size + head.class_length
    return bytes(frame[start : start + head.header_length])


def _changed(frame: bytearray, head: Head, header: bytes) -> tuple[bytearray, Head]:
    """The frame with another header map. Raises `ValueError` if that is too long."""
    changed = with_header(frame, head, header)
    return changed, head._replace(header_length=len(header))
