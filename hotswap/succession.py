"""Who comes after a serving generation: upgrades under way, those that stand by, the probation, and its own leaving.

A successor comes in one of three ways, and one attempt at a time:

    started here      `hotswap upgrade` had this generation start it: `hotswap.spawn`
    told to come      it stands by in another container: `hotswap.standbys`
    comes by itself   somebody else starts it; `hotswap upgrade --external` waits for it
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from hotswap import news, preflight
from hotswap.bake import Baking
from hotswap.elsewhere import Elsewhere
from hotswap.errors import AttemptFailed, Busy, HotswapError, Refused, Superseded, error_of
from hotswap.log import fields
from hotswap.orders import GaveUp, Order
from hotswap.place import here
from hotswap.spawn import Spawned
from hotswap.standbys import Standbys
from hotswap.upgrade import Upgrade, planned

if TYPE_CHECKING:
    from hotswap.chain import Bake, Intent
    from hotswap.handover import wire
    from hotswap.http import EventStream
    from hotswap.serving import Serving
    from hotswap.upgrade import Successor

log = logging.getLogger("hotswap")

Afterwards = Literal["ends", "waits", "stands by"]
LAPSED = 64  # tokens of upgrades that are over
LEAVING_SECONDS = 10.0
"""For a successor to take over from one that was told to end, and half of the time of a drain at most."""


class Succession:
    """That of one serving generation."""

    def __init__(self, serving: Serving, bake: Bake | None) -> None:
        self._serving = serving
        self.under_way: Upgrade | None = None
        self.last: dict[str, Any] | None = None
        self.standbys = Standbys()
        self.leaving = False
        """It was told to end, and somebody may take over before."""
        self.told_by_signal = False
        self.began_to_leave = 0.0
        self._patient_until = 0.0
        self._lapsed: deque[str] = deque(maxlen=LAPSED)
        self.baking = None if bake is None else Baking(bake, serving.server, self._take_back, self.baked)

    # -- upgrades ---------------------------------------------------------------------------------

    def upgrade(self, order: Order) -> EventStream:
        """Start to carry an order out. Raises `Busy`, `Refused`, `UsageError`, `DestinationFailed`."""
        serving = self._serving
        if self.under_way is not None or serving.occupied():
            raise Busy("another attempt is under way; try again when it is over")
        if serving.draining:
            raise Refused("this generation is draining; there is nothing to upgrade")
        if self.baking is not None and not (order.rollback or order.dry_run or order.hand_over):
            self.baking.refuse(serving.identity.name)
        successor, intent, about = self._successor(order)
        self.under_way = Upgrade(order, successor, self._over)
        serving.chain.intent = intent
        self.under_way.report(about)
        return self.under_way.stream

    def _successor(self, order: Order) -> tuple[Successor, Intent, dict[str, Any]]:
        """Whom to expect, and the first event."""
        serving = self._serving
        plan = planned(order, serving.identity, serving.chain, self.standbys, here())
        if plan.standby is not None:
            summoned = Elsewhere.summoned()
            self.standbys.summon(plan.standby, summoned.token)
            log.info("told one that stands by to take over", extra=fields(version=plan.standby.version))
            return summoned, plan.intent, {"event": "summoned", "generation": plan.standby.generation}
        if order.external:
            return Elsewhere(), plan.intent, {"event": "waiting", "timeout": order.timeout}
        if not order.force:
            preflight.check(serving.server.count())
        spawned = Spawned(plan.command, plan.cwd)
        return spawned, plan.intent, {"event": "spawned", "pid": spawned.pid}

    def expected(self, hello: wire.Hello) -> Upgrade | None:
        """The upgrade under way, if this caller is the one it waits for."""
        return self.under_way if self.under_way is not None and hello.token == self.under_way.successor.token else None

    def refuse_late(self, hello: wire.Hello) -> None:
        """One that was told to come, and did when its upgrade had failed already. Raises `Superseded`.

        Nobody here can end it, as one that was started here. To an owner that leaves it is welcome all the same.
        """
        if hello.token in self._lapsed and not self.leaving:
            raise Superseded("the upgrade that told this generation to come is over: it came too late")

    def _over(self, figures: dict[str, Any]) -> None:
        serving, upgrade = self._serving, self.under_way
        if not figures["ok"]:
            news.kept_on(serving.server, upgrade)
            if upgrade is not None and upgrade.successor.token:
                self._lapsed.append(upgrade.successor.token)
        self.under_way = None
        serving.chain.intent = None
        self.last = figures
        serving.stirred()
        if self.baking is not None and self.baking.condemned and not figures["ok"]:
            self.baking.rollback_failed(figures["message"])
        self.go_on_leaving()

    def gave_up(self, word: GaveUp) -> None:
        """One that would have been a successor tells that it will not be."""
        failure = error_of(word.code, f"the new generation gave up: {word.message}")
        log.error("a new generation gave up, serving on: %s", word.message, extra=fields(version=word.version))
        upgrade = self.under_way
        if upgrade is not None and upgrade.attempt is None and word.token == upgrade.successor.token:
            upgrade.fail(failure)

    # -- leaving ----------------------------------------------------------------------------------

    def leave(self) -> None:
        """End: hand over to whoever takes over already or stands by, else drain. A second time: drain at once."""
        serving, upgrade, again = self._serving, self.under_way, self.leaving
        self.told_to_leave()
        patience = min(LEAVING_SECONDS, serving.drain_seconds / 2)
        told = AttemptFailed("the serving generation was told to end")
        if again or (upgrade is not None and isinstance(upgrade.successor, Spawned)):
            self._patient_until = 0.0
            self.cancel(told)
            serving.drain()
            return
        self._patient_until = self.began_to_leave + patience
        if serving.occupied() or (upgrade is not None and upgrade.successor.token):
            log.info("told to end: as soon as the handover under way is over", extra=fields(patience=f"{patience:g}s"))
            serving.loop.call_later(patience, self._lose_patience, told)
        elif upgrade is not None:  # for somebody who has not come
            upgrade.cancel(told)
        else:
            self.go_on_leaving()

    def told_to_leave(self) -> None:
        """From now on the time of a drain counts, whatever comes before it."""
        self.leaving, self.began_to_leave = True, self.began_to_leave or self._serving.loop.time()

    def _hand_over(self, patience: float) -> None:
        try:
            self.upgrade(Order(hand_over=True, timeout=patience, why="the generation before was told to end"))
        except HotswapError as error:
            log.warning("cannot hand over, so it drains: %s", error)
            self._serving.drain()

    def _lose_patience(self, told: AttemptFailed) -> None:
        if not (self._serving.gave_away or self._serving.draining):
            self.cancel(told)

    def cancel(self, why: HotswapError) -> None:
        """Give up whatever is under way, unless the other one owns by now."""
        if self.under_way is not None:
            self.under_way.cancel(why)
        else:
            self._serving.cancel_attempt(why)

    def go_on_leaving(self) -> None:
        """Nothing is under way, or any more: call whoever stands by, as long as there is patience, else drain."""
        serving = self._serving
        if not self.leaving or serving.gave_away or serving.draining or serving.in_handover:
            return
        left = self._patient_until - serving.loop.time()
        if left > 0 and self.standbys.present():
            self._hand_over(left)
        else:
            serving.drain()

    @property
    def afterwards(self) -> Afterwards:
        """What a process whose container must not end does when all of this is over."""
        if self.told_by_signal:
            return "ends"
        if self.leaving:  # a hook's order: the signal is to come
            return "waits"
        return "stands by" if self._serving.gave_away else "ends"

    # -- baking -----------------------------------------------------------------------------------

    def _take_back(self, why: str) -> None:
        self.upgrade(Order(rollback=True, why=why, force=True))

    def baked(self, verdict: str) -> None:
        """The probation is over."""
        self.baking = None
        current = self._serving.chain.current()
        if current is not None:
            current.baked = verdict

    def end(self) -> None:
        """Another one owns, or it drains: no further judgement, and nobody stands by here any more."""
        if self.baking is not None:
            self.baking.stop()
        self.standbys.dismiss(ended=not self._serving.gave_away)
