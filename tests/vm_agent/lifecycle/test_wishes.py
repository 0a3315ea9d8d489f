from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from vm_agent.lifecycle.memory import Condemned, Memory
from vm_agent.lifecycle.states import Event, State
from vm_agent.lifecycle.wishes import NOTHING, Ordered, Wish, digest, wish
from vm_agent.spec.model import Spec, UpgradePolicy, Window

NIGHT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SPEC = Spec(name="edge", release="2", config="/etc/edge.yaml")
AT_NIGHT = msgspec.structs.replace(SPEC, upgrade=UpgradePolicy(window=Window(120, 300)))
GONE = Wish(Event.UNWANTED, "its spec is gone")


def serving(**values: object) -> Memory:
    return Memory(state=State.SERVING, **values)  # type: ignore[arg-type]  # pytest's table


def condemned(spec: Spec) -> Condemned:
    return Condemned("2", digest(spec), "error_rate 7%")


@pytest.mark.parametrize(
    ("spec", "memory", "release", "wanted"),
    [
        (None, Memory(), "", NOTHING),
        (None, serving(), "1", GONE),
        (None, Memory(state=State.WAITING), "", GONE),
        (SPEC, Memory(), "", Wish(Event.WANTED, release="2")),
        (SPEC, Memory(paused=True), "", Wish(why="paused")),
        (SPEC, Memory(state=State.WAITING), "", NOTHING),
        (SPEC, serving(), "2", NOTHING),
        (SPEC, serving(), "1", Wish(Event.OUTDATED, "the spec wants 2", "2")),
        (SPEC, serving(), "", Wish(Event.OUTDATED, "the spec wants 2", "2")),
        (SPEC, serving(paused=True), "1", Wish(why="release 2 waits: paused")),
        (SPEC, serving(condemned=condemned(SPEC)), "1", Wish(why="release 2 is not tried again: error_rate 7%")),
        (SPEC, serving(condemned=condemned(AT_NIGHT)), "1", Wish(Event.OUTDATED, "the spec wants 2", "2")),
        (AT_NIGHT, serving(), "1", Wish(why="release 2 waits for its window")),
        (AT_NIGHT, Memory(), "", Wish(Event.WANTED, release="2")),
    ],
)
def test_what_is_to_be_done_at_noon(spec: Spec | None, memory: Memory, release: str, wanted: Wish) -> None:
    assert wish(spec, memory, release, None, "", NOON) == wanted


def test_what_was_postponed_waits() -> None:
    assert wish(SPEC, serving(), "1", None, "the disk is full", NOON) == Wish(why="the disk is full")


def test_in_its_window_an_upgrade_begins() -> None:
    assert wish(AT_NIGHT, serving(), "1", None, "", NIGHT).event is Event.OUTDATED


@pytest.mark.parametrize("memory", [serving(paused=True), serving(condemned=condemned(AT_NIGHT)), serving()])
def test_an_order_by_hand_waits_for_nothing(memory: Memory) -> None:
    ordered = Ordered("2", "by hand")
    assert wish(AT_NIGHT, memory, "1", ordered, "the disk is full", NOON) == Wish(Event.OUTDATED, "by hand", "2")


def test_an_order_does_nothing_while_nothing_serves() -> None:
    assert wish(SPEC, Memory(state=State.WAITING), "", Ordered("2", "by hand"), "", NOON) == NOTHING
