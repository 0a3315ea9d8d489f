"""Both sides as values: how a client and a ledger are written down (`proxy.multiplexed.state`), and rebuilt elsewhere.

Whoever a state names may come later, or be another object in a later round: `Places.expect` tells by `met`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

from proxy.multiplexed.client import Client
from proxy.multiplexed.ledger import Ledger
from proxy.multiplexed.state import (
    About,
    CallState,
    DownstreamState,
    Held,
    HeldState,
    UpstreamState,
    load_about,
    save_about,
)
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from typing import Any

    from proxy.connection import Connection
    from proxy.plane import Places

_encode = msgspec.msgpack.Encoder().encode
_decode_client = msgspec.msgpack.Decoder(DownstreamState).decode
_decode_ledger = msgspec.msgpack.Decoder(UpstreamState).decode


class SavedClient(Client):
    """A client that can be saved."""

    __slots__ = ()

    def save(self, now: float) -> bytes:
        """See `proxy.multiplexed.state.DownstreamState`."""
        return _encode(
            DownstreamState(
                self.transport(now),
                self.listener.name,
                self.listener.address,
                self.remote,
                bytes(self.inbox.rest),
                self.inbox.skip,
                self.last_id,
                tuple(
                    CallState(number, upstream.serial, theirs, until - now, codec, ver1, 0, (), save_about(about, now))
                    for number, (upstream, theirs, until, codec, ver1, about) in self.pushes.items()
                    if upstream is not None and upstream.fd >= 0
                ),
                self.leaving,
                tuple(
                    HeldState(
                        bytes(one.frame),
                        one.filtered,
                        remaining(one.when, now),
                        remaining(one.until, now),
                        save_about(one.about, now) or About(),
                    )
                    for one in self.held
                ),
                self.introduced,
                remaining(self.linger, now),
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode_client(state)
        self.listener = places.listener(saved.listener, saved.address, self.wire.protocol)
        self.load_transport(saved.transport, now, places)
        self.remote = saved.remote
        self.inbox.load(saved.inbox, saved.skip)
        self.last_id = saved.last_id
        self.leaving = saved.leaving
        self.linger = deadline(saved.linger, now)
        self.introduced, self.destination, self.server_name = saved.introduced, "", ""
        self.awaited = {}
        self.pushes = {}
        self.soonest = inf
        self.held = [
            Held(
                bytearray(one.frame),
                one.filtered,
                deadline(one.wait, now),
                deadline(one.left, now),
                load_about(one.about, now) or About(),
            )
            for one in saved.held
        ]
        if saved.calls:
            self._load_pushes(saved.calls, now, places)

    def _load_pushes(self, saved: tuple[CallState, ...], now: float, places: Places) -> None:
        there: dict[int, Any] = places.expect(self, {call.caller for call in saved})
        for call in saved:
            self.pushes[call.id] = (
                there.get(call.caller),
                call.caller_id,
                now + call.left,
                call.codec,
                call.ver1,
                load_about(call.about, now),
            )
            self.soonest = min(self.soonest, now + call.left)
            if call.caller not in there:
                self.awaited.setdefault(call.caller, []).append(call.id)
        for upstream in there.values():
            upstream.asked[self] = None

    def met(self, other: Connection) -> None:
        """An upstream that the saved state names is there. See `proxy.plane.Places.expect`."""
        upstream: Any = other
        upstream.asked[self] = None
        for number in self.awaited.pop(upstream.serial, ()):
            self.pushes[number] = (upstream, *self.pushes[number][1:])

    def bonds(self) -> tuple[Connection, ...]:
        """The upstream connections with calls of this client, and those whose servers wait for it."""
        found: dict[Connection, None] = {
            upstream: None for upstream in self.uses if not upstream.closed and upstream.calls.of(self)
        }
        for push in self.pushes.values():
            if push[0] is not None and not push[0].closed:
                found[push[0]] = None
        return tuple(found)


class SavedLedger(Ledger):
    """A ledger that can be saved."""

    __slots__ = ()

    def save(self, now: float) -> bytes:
        """See `proxy.multiplexed.state.UpstreamState`."""
        endpoint = self.endpoint
        again = self.again
        calls = self.calls
        under_way = dict(calls.items())
        return _encode(
            UpstreamState(
                self.transport(now),
                endpoint.cluster.name,
                endpoint.name,
                self.version,
                bytes(self.inbox.rest),
                self.inbox.skip,
                calls.last,
                tuple(
                    CallState(
                        number,
                        client.serial,
                        caller_id,
                        until - now,
                        codec,
                        ver1,
                        *again.get(number, (0, ())),
                        save_about(about, now),
                        now - began,
                        route,
                    )
                    for number, (client, caller_id, until, codec, ver1, about, began, route) in under_way.items()
                    if client is not None
                )
                + tuple(
                    CallState(number, 0, 0, 0.0, 0, 0, *a) for number, a in again.items() if number not in under_way
                ),
                0 if self.caller is None else self.caller.serial,
                tuple(client.serial for client in self.feeders),
                remaining(self.connect_by, now),
                now - self.heard,
                now - self.spoke,
                now - self.beaten,
                self.unanswered,
                self.torn,
                self.retiring,
                self.spare,
                remaining(self.retire_by, now),
                bytes(self.kept),
            )
        )

    def load(self, state: bytes, now: float, places: Places) -> None:
        """The counterpart of `save`."""
        saved = _decode_ledger(state)
        endpoint = places.endpoint(saved.cluster, saved.endpoint)
        for client in self.feeders:
            client.blockers.pop(self, None)
        self.endpoint = endpoint
        self.load_transport(saved.transport, now, places)
        self.version = saved.version
        self.inbox.load(saved.inbox, saved.skip)
        self.connect_by = deadline(saved.connect_left, now)
        self.heard = now - saved.deaf
        self.spoke = now - saved.mute
        self.beaten = now - saved.beaten
        self.unanswered = saved.unanswered
        self.torn = saved.torn
        self.retiring, self.spare = saved.retiring, saved.spare
        self.retire_by = deadline(saved.retire_left, now)
        self.kept = saved.kept
        under_way = [call for call in saved.calls if call.caller]  # the others are oneway
        serials = {call.caller for call in under_way}
        serials.update(saved.feeders)
        if saved.caller:
            serials.add(saved.caller)
        there: dict[int, Any] = places.expect(self, serials)
        before = len(self.calls)
        self.calls = calls = self.record()
        calls.last = saved.last_id
        for call in under_way:
            calls.put(
                call.id,
                (
                    there.get(call.caller),
                    call.caller_id,
                    now + call.left,
                    call.codec,
                    call.ver1,
                    load_about(call.about, now),
                    now - call.age,
                    call.route,
                ),
            )
        self.again = {call.id: (call.attempts, call.tried) for call in saved.calls if call.attempts or call.tried}
        self.soonest = calls.earliest()
        self.awaited = {}
        for call in under_way:
            if call.caller not in there:
                self.awaited.setdefault(call.caller, []).append(call.id)
        self.caller = None
        self.feeders = {}
        self.caller_awaited = saved.caller
        self.feeders_awaited = frozenset(saved.feeders)
        for client in there.values():
            self.met(client)
        endpoint.in_flight += len(self.calls) - before
        pool = endpoint.shared_pool(self.version)
        if self.retiring or self.spare:
            pool.discard(self)
        else:
            pool.add(self)

    def met(self, other: Connection) -> None:
        """A downstream that the saved state names is there. See `proxy.plane.Places.expect`."""
        client: Any = other
        client.uses[self] = None
        waiting = self.awaited.pop(client.serial, None)
        if waiting is not None:
            calls = self.calls
            found = dict(calls.items())
            for number in waiting:
                calls.put(number, (client, *found[number][1:]))
        if client.serial == self.caller_awaited:
            self.caller = client
        if client.serial in self.feeders_awaited:
            self.feeders[client] = None
            client.blockers[self] = None

    def dropped(self, places: Places) -> None:
        """See `Connection`: what clients derive from this one."""
        for client in self.feeders:
            client.blockers.pop(self, None)
        calls = self.calls
        for call in calls.values():
            if call[0] is not None:
                call[0].uses.pop(self, None)

    def bonds(self) -> tuple[Connection, ...]:
        """The clients with calls under way here, in either direction."""
        found: dict[Connection, None] = {}
        calls = self.calls
        for call in calls.values():
            if call[0] is not None:
                found[call[0]] = None
        found.update((client, None) for client in self.asked if client.owes(self))
        return tuple(found)
