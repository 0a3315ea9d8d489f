"""`workers: N`: the proxy whose data plane is N processes. This one is worker 0, and has the whole control plane.

To `hotswap` it is one server: the values of its workers are its own values (`hotswap.swappable.Passed`), and what
becomes of them is decided here, by the same byte. Workers do nothing that was not said to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from hotswap.errors import CannotRestore, HotswapError
from hotswap.handover import wire
from hotswap.swappable import OTHER, Reason, look_at_each
from proxy.portion import PORTION
from proxy.server import ProxyServer
from proxy.staying import TLS, worker_of
from proxy.workers import told, words
from proxy.workers.changes import CrewReload
from proxy.workers.hands import Hands

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from hotswap.swappable import Saved, Tally, Value
    from proxy.config.model import Config
    from proxy.encryption.control import TlsOrder
    from proxy.later import Later
    from proxy.reload import ProxyReload, Source
    from proxy.voice import Voice
    from proxy.workers.hand import Hand

FREEZE = 0.5
"""Seconds that all workers may take to freeze; then the attempt has failed."""
SETTLING = 10.0
"""Seconds that workers may take to restore a round; new ones have to start meanwhile."""
BEGINNING = 2.0
"""Seconds that a cold start waits for them."""
ANSWER = 1.0
"""Seconds that whoever asks waits for what workers tell."""


class Crew(ProxyServer):
    """See the module text."""

    def __init__(
        self,
        config: Config,
        *,
        source: Source,
        segment: str,
        build: tuple[str, str],
        directory: Path,
        later: Later,
        voice: Voice,
    ) -> None:
        """As `ProxyServer`. `voice`: how this program was started."""
        PORTION.be(0, config.workers)
        super().__init__(config, source=source, segment=segment, build=build, directory=directory, later=later)
        self.hands = Hands(self, build[1], directory, voice)
        self.hands.on_loss = self._lost
        self.loop: asyncio.AbstractEventLoop  # where it lives, from `adopt` on
        self.reactor.acceptor.scales = self.hands.scales
        self.app.changed = self._beat_heard
        self.reopen = self._reopen
        self._homes: dict[int, Hand] = {}  # of what came and lives in a worker
        self._refused: dict[int, Reason] = {}  # by the destination; a worker may not have heard yet
        self._attempts = 0
        self._agreed: tuple[dict[str, int], list[str]] = {}, []
        self._round_began = 0.0
        self._looks = 0

    def recruit(self) -> None:
        """Start the workers: as early as possible, for they take a while."""
        self.hands.recruit()

    def _lost(self, hand: Hand) -> None:
        self._homes = {serial: home for serial, home in self._homes.items() if home is not hand}

    def _beat_heard(self) -> None:
        state = self.app.save()
        if state is not None:
            self.hands.tell(words.Beat(state))

    def ordered(self, order: TlsOrder) -> None:
        """See `ProxyServer`."""
        self.hands.tell(words.Obey(order))

    def reload(self) -> ProxyReload:
        """See `hotswap.reload.Reloadable`: in a thread of its own."""
        source, config = self.read_again()
        return CrewReload(self, config, source.limits(config))

    # ---- a destination ----

    def accept_descriptors(self, descriptors: Mapping[str, int]) -> None:
        """See `Swappable`. Workers get the key of the attempt, and will count where this process does."""
        self.recruit()
        keys = {worker_of(name): fd for name, fd in descriptors.items() if name.startswith(TLS)}
        for worker, key in keys.items():
            for hand in self.hands:
                copy = os.dup(key)
                hand.say(words.Key(worker), (copy,), (copy,))
        super().accept_descriptors(descriptors)

    def guard(self, lock: int) -> None:
        """See `Swappable`."""
        self.hands.lock = lock

    def adopt(self, listeners: Mapping[str, int]) -> None:
        """See `Swappable`."""
        super().adopt(listeners)
        self.loop = asyncio.get_running_loop()
        self.recruit()
        for hand in self.hands:
            self.hands.equip(hand, listeners)

    def restore(self, saved: Saved, now: float) -> None:
        """Here, or in a worker: what came from one process stays together in one."""
        home = self._homes.get(saved.serial)
        number = saved.worker % self.config.workers
        if home is None and saved.fd >= 0 and number:
            home = self.hands.everyone()[number - 1]
            if not home.lives:
                os.close(saved.fd)
                raise CannotRestore(f"worker {number} ended")
            self._homes[saved.serial] = home
            self.arrived[saved.kind] += 1
        if home is None:
            super().restore(saved, now)
        else:
            home.deliver(saved, now)
            if self.hands.owns:  # a straggler: nobody will settle it
                home.send_off()
        self._round_began = now

    def forget(self, serial: int) -> None:
        """See `Swappable`; also what a worker gave, once it was sent on."""
        home = self._homes.pop(serial, None)
        if home is not None:
            home.say(wire.Closed([serial]))
            return
        for hand in self.hands.everyone():
            if serial in hand.values:
                hand.drop(serial)
                return
        super().forget(serial)

    def unrestored(self) -> Mapping[int, str]:
        """See `Swappable`."""
        self._settle(None, self._round_began, "restore what came")
        problems: dict[int, str] = {}
        for hand in self.hands:
            problems |= hand.problems
            hand.problems = {}
        return problems

    def _settle(self, shared: bytes | None, now: float, what: str) -> None:
        for hand in self.hands:
            hand.settle(shared, now)
        if shared is not None:  # they work while this process does
            super().restore_shared(shared, now)
        self.hands.wait(lambda hand: hand.settled == hand.asked, SETTLING, what)

    def restore_shared(self, state: bytes, now: float) -> None:
        """See `Swappable`: every worker knows what the crew does. Returns when all are prepared."""
        self._settle(state, now, "restore the last pass")
        for hand in self.hands:
            if hand.failure or hand.problems:
                raise CannotRestore(hand.failure or next(iter(hand.problems.values())))

    # ---- a source ----

    def agree(self, chosen: Mapping[str, int], wanted: Collection[str]) -> None:
        """See `Swappable`."""
        super().agree(chosen, wanted)
        self._agreed = dict(chosen), sorted(wanted)

    def descriptors(self) -> Mapping[str, int]:
        """See `Swappable`. From here on workers give what they have."""
        self.hands.check_ready()
        own = dict(super().descriptors())
        self._forget_attempt()
        self._attempts += 1
        self.hands.busy = True
        for hand in self.hands:
            if not hand.ready:  # it has nothing yet, and must not begin in the middle
                self.hands.dismiss(hand)
                continue
            key = hand.take_key()
            if TLS in own and key >= 0:
                own[f"{TLS}/{hand.number}"] = key
            elif key >= 0:
                os.close(key)
            hand.attempt = self._attempts
            hand.say(words.Agree(self._attempts, *self._agreed))
        return own

    def _forget_attempt(self) -> None:
        self._refused = {}
        self.hands.forget()

    def gathered(self) -> bool:
        """See `Swappable`."""
        if self.hands.trouble:
            raise HotswapError(self.hands.trouble)
        return all(hand.gave for hand in self.hands)

    def count(self) -> int:
        """See `Swappable`. Of workers as of their last word."""
        return super().count() + sum(hand.told.connections for hand in self.hands)

    def values(self) -> Mapping[int, Value]:  # type: ignore[override]  # whoever wants connections asks for `live`
        """See `Swappable`: with those that workers gave, in an attempt."""
        own = super().values()
        if not any(hand.values for hand in self.hands):
            return own
        everything: dict[int, Value] = {**own}
        for hand in self.hands:
            everything.update(hand.values)
        return {serial: everything[serial] for serial in sorted(everything)}

    def survey(self, sent: dict[int, int]) -> tuple[Sequence[Value], Sequence[int]]:  # type: ignore[override]  # the same
        """See `Swappable`."""
        if not any(hand.values for hand in self.hands):
            return super().survey(sent)
        return look_at_each(self.values(), sent)

    def staying(self) -> Mapping[int, str]:
        """See `Swappable`."""
        own = super().staying()
        if not self._refused and not any(hand.staying for hand in self.hands):
            return own
        theirs: list[dict[int, str]] = [{**hand.staying} for hand in self.hands]
        return ChainMap(*theirs, {**self._refused}, {**own})

    def keep(self, serials: Collection[int], reason: str) -> None:
        """See `Swappable`."""
        word = reason if isinstance(reason, Reason) else Reason(reason, OTHER)
        for serial in serials:
            giver = next((hand for hand in self.hands if serial in hand.values), None)
            if giver is None:
                super().keep([serial], reason)
            else:
                self._refused[serial] = word
                giver.say(words.Keep([serial], str(reason), word.word))

    def expect_stragglers(self, serials: Collection[int]) -> None:
        """See `Swappable`. With the last one nobody speaks of what came by its serial any more."""
        super().expect_stragglers(serials)
        if not serials and self.hands.owns:
            self._homes = {}

    def stragglers(self) -> Collection[int]:
        """See `Swappable`."""
        own = [serial for serial in super().stragglers() if serial not in self._homes]
        return own + [serial for hand in self.hands for serial in hand.stragglers]

    def sharing(self, shared: bool) -> None:
        """See `Swappable`."""
        super().sharing(shared)
        self.hands.tell(words.Sharing(shared))
        if not shared:
            self._forget_attempt()

    def freeze(self) -> None:
        """See `Swappable`. Returns when nobody ticks and everything is here."""
        self.hands.tell(words.Freeze())
        super().freeze()
        self.hands.wait(lambda hand: hand.frozen, FREEZE, "freeze")

    def thaw(self) -> None:
        """See `Swappable`."""
        self.hands.tell(words.Thaw())
        super().thaw()
        self._forget_attempt()

    # ---- who owns ----

    def owning(self, generation: int, how: str) -> None:
        """See `Swappable`."""
        super().owning(generation, how)
        if how == "cold":  # who begins alone gets all that waited for the start, and keeps it
            with contextlib.suppress(HotswapError):
                self.hands.wait(lambda hand: hand.ready, BEGINNING, "start")

    def start(self) -> None:
        """See `Swappable`."""
        self.hands.begin()
        super().start()
        for hand in self.hands:
            self.hands.count_in(hand)

    def retire(self, kept: Collection[int], removed: Mapping[str, int]) -> None:
        """See `Swappable`."""
        self.hands.owns = False
        for hand in self.hands:
            stay = {*hand.staying, *hand.stragglers, *(self._refused.keys() & hand.values.keys())}
            hand.say(words.Retire(sorted(stay.intersection(kept)), [*removed]))
            hand.retired()
        own = self.reactor.connections
        super().retire([serial for serial in kept if serial in own], removed)

    def abandon(self) -> None:
        """See `Swappable`."""
        self.hands.tell(words.Abandon())
        self._homes = {}
        self._forget_attempt()
        if self._retired:
            self.hands.owns = True
            self.hands.fill()
        super().abandon()

    def announce_drain(self) -> None:
        """See `Swappable`."""
        self.hands.tell(words.Announce())
        super().announce_drain()

    def drain(self, deadline: float) -> None:
        """See `Swappable`."""
        self.hands.owns = False  # nobody is replaced any more
        self.hands.tell(words.Drain(deadline))
        super().drain(deadline)

    def _reopen(self) -> None:
        self.hands.tell(words.Reopen())
        self.sinks.reopen()

    def idle(self) -> bool:
        """See `Swappable`."""
        return super().idle() and all(hand.told.idle for hand in self.hands)

    def close(self) -> None:
        """See `Swappable`."""
        self.hands.part()
        super().close()

    # ---- telling ----

    async def look(self) -> None:
        """See `Swappable`."""
        self._looks = number = self._looks + 1
        asked = [hand for hand in self.hands if hand.ready]  # one that is not has nothing, and would answer all at once
        for hand in asked:
            hand.say(words.Look(number, rows=True))
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER
        self.companions = sum(hand.counts for hand in self.hands)
        while any(hand.lives and hand.looked < number for hand in asked) and loop.time() < until:  # noqa: ASYNC110 - an answer takes a millisecond
            await asyncio.sleep(0.001)

    def in_flight(self) -> int:
        """See `Swappable`."""
        return super().in_flight() + sum(hand.told.in_flight for hand in self.hands)

    def tally(self) -> Tally:
        """See `Swappable`."""
        return told.tally(super().tally(), [*(hand.told for hand in self.hands.everyone()), *self.hands.past])

    def status(self) -> dict[str, Any]:
        """See `Swappable`: with a line for each worker."""
        return told.status(super().status(), super().count(), self.hands.everyone(), self.hands.past)

    def with_workers(self, clusters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """See `ProxyServer`."""
        return told.encryption(clusters, [hand.rows.clusters for hand in self.hands])

    def connections(self) -> list[dict[str, Any]]:
        """See `Swappable`."""
        rows = [{**row, "worker": 0} for row in super().connections()]
        return rows + [{**row, "worker": hand.number} for hand in self.hands for row in hand.rows.connections]
