"""One upgrade attempt as the caller of `hotswap upgrade` sees it: order it, watch it, know how it ended.

The answer of the source is believed only as far as it can be checked: after a success the generation
that serves is asked for its number, and when the connection breaks before the result is there, the
truth is looked up in ``/status`` instead of guessed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hotswap import errors
from hotswap.chain import Bake
from hotswap.control_client import AnswerLost, ControlClient
from hotswap.orders import Order

GRACE_SECONDS = 5.0  # beyond the attempt's own deadline, for its result to arrive
CONFIRM_SECONDS = 5.0  # for a new owner to answer on the control socket
SETTLE_SECONDS = 5.0  # for somebody to answer after the connection broke
POLL_SECONDS = 0.1
LOOK_SECONDS = 0.25  # at a bake
SILENCE_SECONDS = 10.0  # without an answer of anybody
OVERTIME_SECONDS = 60.0  # for the way back, beyond the bake itself
FIGURES = ("listeners", "connections", "in_flight", "downtime_ms")

Event = dict[str, Any]


class Attempt:
    """Runs one order against one name."""

    def __init__(self, client: ControlClient, order: Order, *, follow_bake: bool = True) -> None:
        """`follow_bake`: a bake that was ordered is waited for."""
        self._client = client
        self._follow_bake = follow_bake
        self._order = order
        self._before: dict[str, Any] = {}

    @property
    def generation_before(self) -> int | None:
        """Who served when the order was given, as far as is known."""
        generation = self._before.get("generation")
        return generation if isinstance(generation, int) else None

    def run(self, watch: Callable[[Event], None]) -> Event:
        """Carry it out and return the event ``result``; `watch` sees every event, the result included.

        Raises what `ControlClient` raises before anything was ordered.
        """
        self._before = self._client.get("/status?brief=1")
        if self._order.external and "standbys" not in self._before:  # it would start a successor of its own
            raise errors.Refused(f"{self._client.name}: the version that serves cannot wait for a successor")
        try:
            result = self._follow(watch)
        except AnswerLost as lost:
            result = self._find_out(str(lost))
        except errors.HotswapError as refusal:  # before anything was started
            result = _failed(refusal, str(refusal))
        else:
            result = self._confirm(result)
        if self._follow_bake and self._order.bake is not None and result.get("ok") and not self._order.dry_run:
            result = follow(self._client, result, self._order.bake, watch)
        watch(result)
        return result

    def _follow(self, watch: Callable[[Event], None]) -> Event:
        order = msgspec.to_builtins(self._order)
        for event in self._client.events("/upgrade", order, self._order.timeout + GRACE_SECONDS):
            if event.get("event") == "result":
                return event
            watch(event)
        raise AnswerLost(f"{self._client.name}: the answer ended without a result")

    def _confirm(self, result: Event) -> Event:
        """Ask the new owner itself. A success nobody stands for is none."""
        expected = result.get("generation")
        if not result.get("ok") or self._order.dry_run or not isinstance(expected, int):
            return result
        deadline = time.monotonic() + CONFIRM_SECONDS
        trouble = ""
        while time.monotonic() < deadline:
            try:
                serving = self._client.get("/status?brief=1").get("generation")
            except errors.HotswapError as error:
                trouble = str(error)
            else:
                if isinstance(serving, int) and serving >= expected:
                    return result
                trouble = f"generation {serving} answers"
            time.sleep(POLL_SECONDS)
        return result | {
            "ok": False,
            "exit_code": errors.ConnectionsLost.exit_code,
            "message": f"generation {expected} took over, but does not answer now: {trouble}",
        }

    # -- the connection broke -------------------------------------------------------------------

    def _find_out(self, lost: str) -> Event:
        """What became of the attempt, from those who are left."""
        status, trouble = self._settled_status()
        if status is None and isinstance(trouble, errors.OwnerHung):
            return _failed(errors.SourceHung(), f"{lost}; whoever owns does not answer")
        if status is None:
            return _failed(trouble, f"{lost}; then nobody answered: {trouble}")
        serving = status.get("generation")
        # Not by the pid: the next one may live in another container, and have the same.
        who = "life" if "life" in self._before else "pid"  # an older version does not tell
        if status.get(who) != self._before.get(who):
            return self._taken_over(serving, lost)
        known = self._recorded(status)
        failed = _failed(errors.AttemptFailed(), f"{lost}; generation {serving} serves as before")
        return {**failed, **known, "found_out": True, "ok": self._order.dry_run and bool(known.get("ok"))}

    def _taken_over(self, generation: Any, lost: str) -> Event:
        """Another process serves. How that came about, and what moved, stands in its history."""
        record = self._record_of(generation)
        how, before = record.get("how"), self.generation_before
        moved = isinstance(generation, int) and before is not None and generation > before
        if how in {"crash", "cold"} or not moved:
            told = "serves with its listeners only" if how == "crash" else "was started anew"
            message = f"generation {before} died: another process took its place and {told}, connections are gone"
            return {**_failed(errors.ConnectionsLost(), message), "generation": generation, "found_out": True}
        result: Event = {"event": "result", "ok": True, "exit_code": 0, "message": lost, "generation": generation}
        figures = {key: record[key] for key in FIGURES if key in record} if record.get("listeners") else {}
        return {**result, **figures, "found_out": True}

    def _record_of(self, generation: Any) -> Event:
        """What the history says about the generation that serves; nothing if it cannot be had."""
        try:
            history = self._client.get("/history").get("history") or []
        except errors.HotswapError:
            return {}
        mine = [one for one in history if one.get("generation") == generation]
        served = [one for one in mine if not str(one.get("outcome")).startswith("failed")]
        return served[-1] if served else {}

    def _recorded(self, status: dict[str, Any]) -> Event:
        """What the generation that serves wrote down about this attempt, if it did."""
        recorded = status.get("last_upgrade")
        if not isinstance(recorded, dict) or recorded == self._before.get("last_upgrade"):
            return {"event": "result", "found_out": True}
        return {**recorded, "event": "result", "found_out": True}

    def _settled_status(self) -> tuple[dict[str, Any] | None, errors.HotswapError]:
        """The first status that is not in the middle of an attempt, or what kept us from getting one."""
        now = time.monotonic()
        patience, deadline = now + SETTLE_SECONDS, now + self._order.timeout + GRACE_SECONDS
        trouble: errors.HotswapError = errors.OwnerHung("the attempt does not end")
        while True:
            try:
                status = self._client.get("/status?brief=1")
            except errors.HotswapError as error:
                trouble = error
                over = time.monotonic() > patience
            else:
                if status.get("state") != "handover":
                    return status, trouble
                over = time.monotonic() > deadline
            if over:
                return None, trouble
            time.sleep(POLL_SECONDS)


def _failed(kind: errors.HotswapError, message: str) -> Event:
    return {"event": "result", "ok": False, "exit_code": kind.exit_code, "message": message}


# -- a bake: the new generation judges itself, this only watches --


def follow(client: ControlClient, result: Event, bake: Bake, watch: Callable[[Event], None]) -> Event:
    """The result once the bake is over; `watch` sees how it goes."""
    generation = result.get("generation")
    heard = time.monotonic()
    until = heard + bake.seconds + OVERTIME_SECONDS
    while time.monotonic() < until:
        try:
            status = client.get("/status")
            if status.get("generation") != generation or not status.get("baking"):
                verdict = _verdict(client, status, result)
                if verdict is not None:
                    return verdict
            else:
                watch({"event": "baking", "generation": generation, **status["baking"]})
            heard = time.monotonic()
        except errors.HotswapError as error:
            if time.monotonic() - heard > SILENCE_SECONDS or isinstance(error, errors.NotRunning):
                return _worse(result, errors.ConnectionsLost(), f"nobody answers any more while it baked: {error}")
        time.sleep(LOOK_SECONDS)
    return _worse(result, errors.RolledBack(), "the bake does not end; see 'hotswap status'")


def _verdict(client: ControlClient, status: Mapping[str, Any], result: Event) -> Event | None:
    """What the history says of the generation that baked. None: nothing yet."""
    generation = result.get("generation")
    history = client.get("/history").get("history") or []
    record = next(
        (
            one
            for one in reversed(history)
            if one.get("generation") == generation and not str(one.get("outcome")).startswith("failed")
        ),
        None,
    )
    if record is None:
        if status.get("generation") != generation:
            words = f"generation {generation} died while it baked; {status.get('generation')} was started anew"
            return _worse(result, errors.ConnectionsLost(), words)
        return None
    outcome, baked = str(record.get("outcome")), str(record.get("baked") or "")
    if outcome.startswith("rolled back"):
        return _worse(result, errors.RolledBack(), f"generation {generation} was {outcome}")
    if baked.startswith("failed"):
        return _worse(result, errors.RolledBack(), f"the bake of generation {generation} {baked}; it serves on")
    if baked:
        return {**result, "baked": baked}
    if outcome == "serving" and "baking" in status:
        return None
    told = "does not know how to bake" if "baking" not in status else f"was {outcome} before its bake was over"
    return {**result, "baked": f"not judged: generation {generation} {told}"}


def _worse(result: Event, kind: errors.HotswapError, message: str) -> Event:
    return {**result, "ok": False, "exit_code": kind.exit_code, "message": message}
