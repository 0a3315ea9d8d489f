"""Following a bake: the new generation judges itself, this only watches and reports."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import click
import msgspec

from hotswap import errors
from hotswap.cli.output import plain, span
from hotswap.control_client import ControlClient

POLL_SECONDS = 0.25
SILENCE_SECONDS = 10.0  # without an answer of anybody
OVERTIME_SECONDS = 60.0  # for the way back, beyond the bake itself

DEFAULT_CONDITIONS = ("error_rate=5%", "crashes=1")

Event = dict[str, Any]


class Bake(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the body of ``POST /upgrade``."""

    seconds: float
    error_rate: float | None = None  # a share
    crashes: int | None = None
    min_requests: int = 20


def bake_of(seconds: float | None, conditions: tuple[str, ...], min_requests: int) -> Bake | None:
    """What ``--bake`` and ``--abort-if`` mean together. Raises `click.UsageError`."""
    if seconds is None:
        if conditions:
            raise click.UsageError("--abort-if says what ends a --bake before its time: give that as well")
        return None
    found: dict[str, Any] = {}
    for condition in conditions or DEFAULT_CONDITIONS:
        name, _, value = condition.partition("=")
        if name == "error_rate" and re.fullmatch(r"\d+(\.\d+)?%", value) and float(value[:-1]) < 100:
            found[name] = float(value[:-1]) / 100
        elif name == "crashes" and re.fullmatch(r"[1-9]\d{0,5}", value):
            found[name] = int(value)
        else:
            raise click.UsageError(f"--abort-if {condition}: write error_rate=1% or crashes=1")
    return Bake(seconds=seconds, min_requests=min_requests, **found)


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
                return _failed(result, errors.ConnectionsLost(), f"nobody answers any more while it baked: {error}")
        time.sleep(POLL_SECONDS)
    return _failed(result, errors.RolledBack(), "the bake does not end; see 'hotswap status'")


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
            return _failed(result, errors.ConnectionsLost(), words)
        return None
    outcome, baked = str(record.get("outcome")), str(record.get("baked") or "")
    if outcome.startswith("rolled back"):
        return _failed(result, errors.RolledBack(), f"generation {generation} was {outcome}")
    if baked.startswith("failed"):
        return _failed(result, errors.RolledBack(), f"the bake of generation {generation} {baked}; it serves on")
    if baked:
        return {**result, "baked": baked}
    if outcome == "serving" and "baking" in status:
        return None
    told = "does not know how to bake" if "baking" not in status else f"was {outcome} before its bake was over"
    return {**result, "baked": f"not judged: generation {generation} {told}"}


def described(event: Mapping[str, Any]) -> str:
    """How the bake goes, in words."""
    if event.get("condemned"):
        return f"taking generation {event.get('generation')} back: {plain(event['condemned'])}"
    rate, left = event.get("error_rate") or 0.0, event.get("left_s") or 0.0
    return (
        f"baking for another {span(left)}: {event.get('failed')} of {event.get('requests')} requests failed "
        f"({rate:.2%}), {event.get('crashes')} crashes"
    )


def _failed(result: Event, kind: errors.HotswapError, message: str) -> Event:
    return {**result, "ok": False, "exit_code": kind.exit_code, "message": message}
