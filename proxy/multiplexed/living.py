"""The life of a connection to a server: made, kept alive, replaced, and its end.

    dialled --> serving --told so, drain, gone from the configuration--> finishing --last call--> closed by us
                  | ^ `--another took its place--> finishing --last call--> silent --> closed by the server; late, by us
                  | `--an answer to its first heartbeat-- spare
                  `--succeed, see `proxy.encryption`--> dialled as a spare

Silence of `heartbeat_interval` in either direction is broken by a heartbeat, also while calls finish: servers close a
silent connection even with a call pending. One that stays mute for three of them is closed. Who is silent on purpose
sends none any more, so that the server closes it: it alone knows when it has nothing left to say.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from proxy.encryption.reasons import TOO_SLOW
from proxy.multiplexed.value import SavedLedger
from proxy.proxy_protocol.sending import announcement

if TYPE_CHECKING:
    from proxy.endpoint import Endpoint
    from proxy.sides import Upstream

UNANSWERED: Final = 3
"""Heartbeats without a sign of life after which a connection is given up."""
AGAIN: Final = 1.0
"""Seconds until a connection whose deadline passed is looked at again, while a server's request is under way on it."""


class Living(SavedLedger):
    """A ledger that begins and ends."""

    __slots__ = ()

    def dial(self, endpoint: Endpoint, version: int) -> None:
        """Connect; calls may be given to it at once."""
        self.endpoint = endpoint
        self.version = version
        self.retiring = self.plane.draining
        self.connect_by = self.plane.now + endpoint.cluster.config.connect_timeout
        self.plane.dial(self, endpoint.address)
        self.torn = self.introduce(announcement(endpoint.cluster, None))  # no frame that could be sent elsewhere
        self.wake(self.connect_by)

    def connected(self) -> None:
        """Calls that waited are flushed now. One that is to take another's place has to prove itself first."""
        now = self.plane.now
        self.connect_by = inf
        self.heard = self.spoke = self.beaten = now
        self.endpoint.connected(secure=self.tls is not None)
        if self.spare:
            self.connect_by = now + self.endpoint.cluster.config.connect_timeout
            self.send(self.wire.heartbeat(self.version, self.next_id()))
        self.wake(self.due())

    def renumbered(self, former: int) -> None:
        """See `Upstream`."""
        super().renumbered(former)
        pool = self.endpoint.shared.get(self.version)
        if pool is not None and pool.members.pop(former, None) is not None:
            pool.add(self)

    def begin_secure(self) -> None:
        """See `Upstream`. Calls wait behind the header."""
        if self.torn:
            self.preface, self.outbox = bytes(self.outbox[: self.torn]), self.outbox[self.torn :]
            self.torn = 0

    def begin_anew(self) -> None:
        """See `Upstream`."""
        self.torn += len(self.preface)
        super().begin_anew()

    def give_time(self, when: float) -> None:
        """See `Upstream`."""
        self.connect_by = when

    # ---- replaced: see `Upstream` ----

    @property
    def serves(self) -> bool:
        """It takes calls."""
        return not self.retiring

    @property
    def retires(self) -> bool:
        """Another took its place."""
        return self.retire_by != inf

    def succeed(self) -> None:
        """See `Upstream`. The successor gets no call before it proved itself."""
        successor = type(self)(self.plane)
        successor.spare = True
        successor.dial(self.endpoint, self.version)

    def replaces(self, other: Upstream) -> bool:
        """See `Upstream`."""
        return super().replaces(other) and isinstance(other, Living) and self.version == other.version

    def proven(self) -> None:
        """It answered its first heartbeat: it serves."""
        self.spare = False
        self.connect_by = inf
        self.changes += 1
        self.endpoint.shared_pool(self.version).add(self)
        self.recount()
        self.endpoint.cluster.switch.succeeded(self, self.plane.now)

    def accepted(self) -> None:
        """See `Upstream`. What was sent so far was looked at."""
        super().accepted()
        self.kept = b""

    def retire(self) -> None:
        """See `Upstream`. Its calls finish, then it is silent until the server closes it."""
        self.retire_by = self.plane.now + self.endpoint.cluster.switch.wishes.config.retire_timeout
        self._take_no_more()

    def wind_down(self) -> None:
        """See `Ledger`. No matter what the server does then."""
        if self.retires:
            self.count_retired("own")
            self.retire_by = inf
        self._take_no_more()

    def _take_no_more(self) -> None:
        self.retiring = True
        self.changes += 1
        self.endpoint.unshare(self.version, self)
        self.recount()
        self.end_if_done()

    @property
    def silent(self) -> bool:
        """Nothing is under way, and nothing will be: the server is to close it."""
        return self.retires and not self.calls

    # ---- the end ----

    def end_if_done(self) -> None:
        """See `Ledger`."""
        if not self.retiring or self.calls or self.closed:
            return
        if self.retires:
            if self.plane.now < self.retire_by:
                self.wake(self.retire_by)
                return
            self._overdue()
        elif self.tls is not None and self.tls.sealed and not self.connecting:
            self.shut()  # oneway frames among them have left the outbox: no other connection could send them
        else:
            self.finished()

    def _overdue(self) -> None:
        """The server did not close it."""
        if any(client.owes(self) for client in self.asked):
            self.retire_by = self.plane.now + AGAIN
            self.wake(self.retire_by)
        elif not self.shutting:
            self.count_retired("deadline")
            self.retire_by = inf
            self.end_if_done()

    def finished(self) -> None:
        """All is sent that has to be sent here."""
        self.close()
        self.lost(self.wire.not_sent)

    def drain(self) -> None:
        """Take no further calls."""
        if self.spare:
            self.close()
        else:
            self.wind_down()

    def over(self) -> None:
        """Count how it went, if another took its place."""
        super().over()
        if self.retires:
            self.count_retired("cut" if self.calls else "peer")
            self.retire_by = inf

    def lost(self, status: int, unreachable: str = "", *, unseen: bool = False) -> None:
        """The connection is closed. Calls that never left go elsewhere, the others fail with this status.

        `unseen`: nothing that left was looked at, so one attempt more is granted.
        """
        raise NotImplementedError

    def not_connected(self) -> None:
        """The dial came to nothing: the calls go to other endpoints, as long as there are any."""
        raise NotImplementedError

    def cut(self) -> None:
        """The server answers nothing any more."""
        raise NotImplementedError

    def detached(self) -> None:
        """It ended, or lives elsewhere now."""
        super().detached()
        self.endpoint.unshare(self.version, self)
        self.endpoint.in_flight -= len(self.calls)
        again = self.spurned and not self.endpoint.cluster.switch.wishes.strict
        self.unsent = self.kept + self.outbox if again else self.outbox[self.torn :]
        self.kept = b""

    # ---- deadlines ----

    def due(self) -> float:
        """The end of the dial; else the earliest deadline of a call, or the next heartbeat."""
        if self.connecting or self.spare:
            return min(self.connect_by, self.soonest)
        if self.silent:
            return self.retire_by
        silent_since = max(min(self.heard, self.spoke), self.beaten)
        return min(silent_since + self.endpoint.cluster.config.heartbeat_interval, self.soonest)

    def expired(self, now: float) -> None:
        """End calls whose time is up, give up a dial or a connection without a sign of life, or ask for one."""
        if self.soonest <= now:
            self._time_out(now)
        if self.connecting or self.spare:
            if self.connect_by <= now:
                self._too_slow()
            return
        if self.silent:
            if self.retire_by <= now:
                self._overdue()
            return
        interval = self.endpoint.cluster.config.heartbeat_interval
        if max(min(self.heard, self.spoke), self.beaten) + interval > now or self.closed:
            return
        if self.heard >= self.beaten:
            self.unanswered = 0
        if self.endpoint not in self.endpoint.cluster.endpoints:  # nor in the configuration any more
            self.wind_down()
        if self.unanswered >= UNANSWERED:
            self.close()
            self.cut()
            return
        self.unanswered += 1
        self.beaten = now
        self.send(self.wire.heartbeat(self.version, self.next_id()))

    def _too_slow(self) -> None:
        if self.plane.in_plaintext(self, TOO_SLOW):
            return
        self.close()
        self.not_connected()

    def _time_out(self, now: float) -> None:
        calls = self.calls
        late = [number for number, call in calls.items() if call[2] <= now]
        count = 0
        for number in late:
            call = calls.pop(number)
            if call is None:  # its client was reset, for it does not read what it is told here
                continue
            count += 1
            self.again.pop(number, None)
            self.endpoint.overdue(now)
            if call[0] is not None:
                call[0].fail(call, self.wire.timeout, late=True)
        calls = self.calls  # others, if the connection ended meanwhile
        self.soonest = calls.earliest()
        self.ended_calls(count)

    def ended_calls(self, count: int) -> None:
        """So many of them are over."""
        self.endpoint.in_flight -= count
        if self.retiring:
            self.end_if_done()
