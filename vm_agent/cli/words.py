"""What the agent tells, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotswap import errors
from hotswap.cli import progress
from hotswap.cli.output import age, block, plain, span
from vm_agent.errors import NotPossible, SpecError, StartFailed

Event = Mapping[str, Any]
ON_THE_WAY_BACK = {
    "preparing": "looking for the release from before",
    "rehearsing": "rehearsing: the release from before starts, restores everything, and gives it back",
    "baking": "the release from before serves",
}
"""What the states are called in a rollback."""

STATES = {
    "absent": "nothing runs",
    "fetching": "installing its release",
    "starting": "starting",
    "serving": "serving",
    "waiting": "could not be started, tried again later",
    "preparing": "installing the next release",
    "rehearsing": "rehearsing: the next release starts, restores everything, and gives it back",
    "moving": "handing over",
    "baking": "baking: the next release serves on probation",
    "returning": "taking the next release back",
    "stopping": "draining",
}

ADVICE = {
    errors.AttemptFailed.exit_code: "it serves as before: see 'hotswap-agent history NAME'",
    errors.RolledBack.exit_code: "the release before has every connection back: see 'hotswap-agent history NAME'",
    SpecError.exit_code: "sidecars go on as they were",
    StartFailed.exit_code: "tried again by itself: see 'hotswap-agent history NAME'",
    NotPossible.exit_code: "see 'hotswap-agent status NAME'",
}

OUTCOMES = {
    "started": 0,
    "kept": 0,
    "went back": 0,
    "stopped": 0,
    "cannot start": StartFailed.exit_code,
    "failed": errors.AttemptFailed.exit_code,
    "postponed": errors.AttemptFailed.exit_code,
    "undone": errors.AttemptFailed.exit_code,
    "taken back": errors.RolledBack.exit_code,
    "stuck": errors.HotswapError.exit_code,
}
"""Entries of the history that end something, with the exit code of a command that waited for it."""


def state_of(told: Event, *, back: bool = False) -> str:
    """The state of a sidecar; `back`: in a rollback."""
    state = str(told.get("state"))
    return (ON_THE_WAY_BACK.get(state) if back else None) or STATES.get(state, plain(state))


def described(event: Event, *, back: bool = False) -> str:
    """An event of a sidecar that is watched; some have several lines."""
    kind = event.get("event")
    if kind == "state":
        why = f": {block(event['why'])}" if event.get("why") else ""
        return f"{state_of(event, back=back)}{why}"
    if kind == "note":
        text = f": {block(event['text'])}" if event.get("text") else ""
        return f"{plain(event.get('what'))}{text}"
    return progress.described({key: value for key, value in event.items() if key != "name"})


def operation(told: Event) -> str:
    """The upgrade that is under way; empty if there is none."""
    under_way = told.get("operation")
    if not isinstance(under_way, dict):
        return ""
    return f"{plain(under_way.get('before') or 'unknown')} -> {plain(under_way.get('after'))}"


def countdown(told: Event, now: float) -> str:
    """How long a bake still takes; empty outside of one. `now`: seconds since the epoch."""
    under_way = told.get("operation")
    bake = under_way.get("bake") if isinstance(under_way, dict) else None
    until = bake.get("until") if isinstance(bake, dict) else None
    if told.get("state") != "baking" or not isinstance(until, int | float):
        return ""
    left = until - now
    return f"baking for another {span(left)}" if left > 0 else "baking: about to be judged"


def complaint(name: str, result: Event) -> str:
    """What went wrong, and what to do about it."""
    lines = [plain(line) for line in str(result.get("message") or "it came to nothing").split("\n")]
    advice = ADVICE.get(int(result.get("exit_code") or 0), "see 'hotswap-agent status NAME'").replace("NAME", name)
    message = "\n".join(lines).rstrip(".\n")
    message = message if message.startswith(name) else f"{name}: {message}"
    return f"{message}\n{advice}" if "\n" in message else f"{message}; {advice}"


def since(then: Any, now: float) -> str:
    """How long ago that was, in whole seconds."""
    return age(then, now) if not isinstance(then, int | float) or now - then >= 1.0 else "0 s"
