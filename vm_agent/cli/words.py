"""What the agent tells, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotswap import errors
from hotswap.cli import progress
from hotswap.cli.output import plain, span
from vm_agent.errors import NotPossible, SpecError, StartFailed

Event = Mapping[str, Any]

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
}
"""Entries of the history that end something, with the exit code of a command that waited for it."""


def described(event: Event) -> str:
    """An event of a sidecar that is watched."""
    kind = event.get("event")
    if kind == "state":
        why = f": {plain(event['why'])}" if event.get("why") else ""
        return f"{STATES.get(str(event.get('state')), plain(event.get('state')))}{why}"
    if kind == "note":
        text = f": {plain(event['text'])}" if event.get("text") else ""
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
    lines = [plain(line) for line in str(result.get("message") or "it came to nothing").splitlines()]
    advice = ADVICE.get(int(result.get("exit_code") or 0), "see 'hotswap-agent status NAME'").replace("NAME", name)
    message = "\n".join(lines).rstrip(".")
    return f"{message if message.startswith(name) else f'{name}: {message}'}; {advice}"
