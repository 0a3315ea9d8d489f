"""The workers of a crew, all together: started, told, waited for, and replaced when they end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING

import msgspec

from hotswap.errors import HotswapError, Refused
from hotswap.log import fields
from proxy.workers import scales, words
from proxy.workers.hand import Hand
from proxy.workers.line import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from proxy.server import ProxyServer
    from proxy.voice import Voice

BLOCK = 1 << 42
"""Serials that a worker is given at a time, out of those of the chain: more than it will ever use."""
SPARE = 256
"""Descriptors for what comes to workers while they give."""
AGAIN = 0.1
"""Seconds until one that ended is replaced, twice as long each time, up to
"""
LONGEST = 5.0
"""that many, or for one that could not even begin
"""
HOPELESS = 60.0
"""that many: the installed package is another one by now, or is broken."""
WORKED = 5.0
"""Seconds of CPU time after which one that ended counts as one that worked."""

log = logging.getLogger("proxy")


def over(told: words.Told) -> dict[str, tuple[int, int, int]]:
    """What stays of its figures: it has no connections any more."""
    return {address: (0, *counts[1:]) for address, counts in told.listeners.items()}


class Hands:
    """Those of one server. Iterating gives the ones that live."""

    def __init__(self, server: ProxyServer, build: str, directory: Path, voice: Voice) -> None:
        """`build`, `directory` and `voice`: see `Commission`."""
        self._server = server
        self._build, self._directory, self._voice = build, directory, voice
        self._all: list[Hand] = []
        self.lock = -1
        """That of the name: no other generation starts cold as long as a worker lives."""
        self.past: list[words.Told] = []
        """The last words of those that were replaced."""
        self._again = AGAIN
        self._scales = scales.made(server.config.workers)
        self.scales = scales.Scales(self._scales, 0)
        self._trouble = ""
        self.owns = self.busy = self.over = False
        """They tick; they are in the middle of a handover; none is wanted any more."""
        self.on_loss: Callable[[Hand], None] = lambda _hand: None

    def __iter__(self) -> Iterator[Hand]:
        return iter([hand for hand in self._all if hand.lives])

    def everyone(self) -> list[Hand]:
        """Also those that have ended, and what they said last."""
        return self._all

    @property
    def trouble(self) -> str:
        """Why the attempt under way lacks what it needs: a worker ended since it began, or cannot give."""
        return self._trouble or next((hand.trouble for hand in self if hand.trouble), "")

    # ---- coming ----

    def recruit(self) -> None:
        """Start them, unless they are there."""
        for number in range(len(self._all) + 1, self._server.config.workers):
            self._all.append(self._hire(number))

    def _hire(self, number: int) -> Hand:
        commission = words.Commission(self._server.config, number, self._build, self._directory, self._voice)
        return Hand(commission, self._scales, self._lost)

    def equip(self, hand: Hand, listeners: Mapping[str, int]) -> None:
        """Give it the listeners, and whatever metrics there are; hear it from now on."""
        hand.line.attach()
        if self.lock >= 0:
            hand.say(words.Guard(), (self.lock,))
        hand.sockets(listeners, words.Sockets)
        self.count_in(hand)

    def count_in(self, hand: Hand) -> None:
        """Have it count where this process does."""
        if not hand.counts:
            for fd in self._server.home.descriptors().values():
                hand.counts = True
                hand.say(words.Metrics(), (fd,), (fd,))

    def employ(self, hand: Hand) -> None:
        """It owns: it ticks from here on."""
        reactor = self._server.reactor
        first, reactor.next_serial = reactor.next_serial, reactor.next_serial + BLOCK
        hand.owns = True
        hand.say(words.Own(self._server.home.upgrades.number, first))

    def begin(self) -> None:
        """All own. Those that are missing by now come later."""
        self.owns, self._trouble = True, ""
        for hand in self:
            self.employ(hand)
        self.fill()

    def fill(self) -> None:
        """Have others in the place of those that ended while nobody was to be replaced."""
        for hand in self._all:
            if not hand.lives:
                asyncio.get_running_loop().call_later(AGAIN, self._replace, hand)

    # ---- going ----

    def _lost(self, hand: Hand, why: str) -> None:
        """It is gone, and what it had with it; somebody else comes."""
        self._end(hand)
        hand.told = msgspec.structs.replace(hand.told, connections=0, in_flight=0, idle=True, listeners=over(hand.told))
        self.scales.absent(hand.number)
        if self.over:
            return
        self._trouble = f"worker {hand.number} (pid {hand.pid}) ended: {why}"
        log.error("a worker ended", extra=fields(worker=hand.number, pid=hand.pid, connections=hand.told.connections))
        self.on_loss(hand)
        if self.owns:
            worked = hand.told.cpu > WORKED
            self._again = AGAIN if worked else min(2 * self._again, LONGEST if hand.ready else HOPELESS)
            asyncio.get_running_loop().call_later(self._again, self._replace, hand)

    def dismiss(self, hand: Hand) -> None:
        """It has just been started, and is not needed: another one will come when it is."""
        self._end(hand)
        asyncio.get_running_loop().call_later(AGAIN, self._replace, hand)

    def _end(self, hand: Hand) -> None:
        """Kill it, and reap it when that is done: the kernel takes its time for a process of many connections."""
        hand.kill()
        hand.hang_up()
        self._reap(hand)

    def _reap(self, hand: Hand) -> None:
        if not hand.ended():
            asyncio.get_running_loop().call_later(AGAIN, self._reap, hand)

    def _replace(self, former: Hand) -> None:
        """Have another in its place, once nobody is in the middle of a handover."""
        if self.over or not self.owns or former not in self._all:
            return
        if self.busy:
            asyncio.get_running_loop().call_later(AGAIN, self._replace, former)
            return
        server = self._server
        try:
            hand = self._hire(former.number)
        except OSError as error:  # too many processes, or files
            self._again = min(2 * self._again, LONGEST)
            log.error("no worker can be started", extra=fields(worker=former.number, reason=error.strerror))  # noqa: TRY400  says it all
            asyncio.get_running_loop().call_later(self._again, self._replace, former)
            return
        self.past.append(former.told)
        self._all[self._all.index(former)] = hand
        self.equip(hand, {one.name: one.fd for one in server.listeners.values() if one.fd >= 0})
        now = server.reactor.kernel.clock()
        hand.settle(server.save_shared(now), now)
        self.employ(hand)

    def part(self) -> None:
        """None is wanted any more."""
        self.over = True
        self.tell(words.End())
        for hand in self._all:
            hand.part()

    # ---- all at once ----

    def tell(self, word: words.Message) -> None:
        """Say it to all."""
        for hand in self:
            hand.say(word)

    def wait(self, done: Callable[[Hand], bool], seconds: float, what: str) -> None:
        """Hear nobody but them until that holds for each. Raises `HotswapError` if one is missing, or late."""
        hands = [*self]
        if not self.trouble:
            until = time.monotonic() + seconds
            wait_for([one.line for one in hands], lambda: bool(self.trouble) or all(map(done, hands)), until)
        if self.trouble:
            raise HotswapError(self.trouble)
        for hand in hands:
            if not done(hand):
                raise HotswapError(
                    f"worker {hand.number} (pid {hand.pid}) did not {what} within {seconds:g} s; kill it, another comes"
                )

    def check_ready(self) -> None:
        """Raises `Refused` if an attempt cannot begin: every connection of all workers passes through this process."""
        for hand in self:
            hand.line.read()
            if hand.ready and hand.key < 0:
                hand.say(words.NewKey())
                raise Refused(f"worker {hand.number} (pid {hand.pid}) is not done with the last attempt; try again")
        limit = self._server.reactor.kernel.open_files_limit()
        needed = sum(hand.told.connections for hand in self) * 5 // 4 + SPARE
        there = sum(1 for _ in os.scandir("/proc/self/fd"))
        if there + needed > limit:
            raise Refused(
                f"{there} files are open, {limit} may be, and the connections of all workers come by here: "
                f"{needed} more; raise RLIMIT_NOFILE"
            )

    def forget(self) -> None:
        """An attempt is over, or begins."""
        self.busy, self._trouble = False, ""
        for hand in self._all:
            hand.forget()
