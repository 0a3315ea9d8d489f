"""What is to be done about a sidecar at rest: decided from what is wanted, what serves, and what is remembered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec

from vm_agent.lifecycle.memory import Memory
from vm_agent.lifecycle.states import Event, State
from vm_agent.spec.model import Spec
from vm_agent.spec.window import opens


@dataclass(frozen=True)
class Ordered:
    """What somebody ordered by hand: it waits for no window, and tries again what is condemned."""

    release: str
    why: str
    back: bool = False


@dataclass(frozen=True)
class Wish:
    """An event to bring about, or nothing and why."""

    event: Event | None = None
    why: str = ""
    release: str = ""
    back: bool = False


NOTHING = Wish()


def digest(spec: Spec) -> str:
    """Of all that the operator wrote: a condemned release is tried again once anything of it changes."""
    return hashlib.sha256(msgspec.json.encode(spec)).hexdigest()[:16]


def wish(
    spec: Spec | None, memory: Memory, serving: str, ordered: Ordered | None, postponed: str, local: datetime
) -> Wish:
    """`serving`: the release that serves; `postponed`: why not yet; `local`: the time of day on this machine."""
    if spec is None:
        return NOTHING if memory.state is State.ABSENT else Wish(Event.UNWANTED, "its spec is gone")
    if memory.state is State.ABSENT:
        return Wish(why="paused") if memory.paused else Wish(Event.WANTED, release=spec.release)
    if memory.state is not State.SERVING:
        return NOTHING
    if ordered is not None:
        return Wish(Event.OUTDATED, ordered.why, ordered.release, ordered.back)
    if spec.release == serving:
        return NOTHING
    if memory.paused:
        return Wish(why=f"release {spec.release} waits: paused")
    condemned = memory.condemned
    if condemned is not None and condemned.release == spec.release and condemned.digest == digest(spec):
        return Wish(why=f"release {spec.release} is not tried again: {condemned.reason}")
    if postponed:
        return Wish(why=postponed)
    if not opens(spec.upgrade.window, local):
        return Wish(why=f"release {spec.release} waits for its window")
    return Wish(Event.OUTDATED, f"the spec wants {spec.release}", spec.release)
