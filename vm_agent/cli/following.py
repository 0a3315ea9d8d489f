"""Following what was ordered, to its end: by the agent's stream; and if that breaks off, by asking and by the history.

What an agent that is killed in the middle had under way, the next one finishes or undoes. So a broken stream says
nothing of the order: who asked is told once it is known.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from hotswap import errors
from hotswap.control_client import AnswerLost
from vm_agent.cli.words import OUTCOMES
from vm_agent.client import WATCH_SECONDS, AgentClient
from vm_agent.errors import AgentNotRunning, StartFailed

LOOK_SECONDS = 0.5
BACK_SECONDS = 30.0
"""For an agent that ended to come back."""
RESTS = ("serving", "waiting", "absent")

Event = dict[str, Any]
Watch = Callable[[Event], None]


def follow(client: AgentClient, path: str, order: Event, watch: Watch) -> Event:
    """Give the order and return the event ``result``; `watch` sees every other one, and ``status`` in between.

    ``status`` has what ``GET /status`` tells of the sidecar, about once a second while nothing else happens. Raises
    `HotswapError` if the order is refused.
    """
    name = str(order["name"])
    since = time.time()
    try:
        result = _streamed(client, path, {**order, "watch": True}, watch)
    except AnswerLost as lost:
        result = None
        watch({"event": "lost", "name": name, "message": str(lost)})
    if result is None:
        found = settled(client, [name], since, watch)
        result = found[0] if found else gone(name)
    return result


def confirmed(client: AgentClient, result: Event, release: str) -> Event:
    """A success that nobody stands for is none: `release` (empty: the one that the spec wants) serves now, or else."""
    name = str(result.get("name"))
    told = look(client, name)
    if result.get("ok") and (result.get("state") == "absent" or result == gone(name)):
        return {**result, "ok": False, "exit_code": errors.AttemptFailed.exit_code, "message": "is no more"}
    expected = release or str(told.get("wanted") or "")
    if not result.get("ok") or not told or not expected or told.get("release") == expected:
        return result
    message = f"release {told.get('release') or 'unknown'} serves, not {expected}"
    return {**result, "ok": False, "exit_code": errors.AttemptFailed.exit_code, "message": message}


def _streamed(client: AgentClient, path: str, order: Event, watch: Watch) -> Event | None:
    """The result; None if the stream ended without one, as it does if the agent ends."""
    name = str(order["name"])
    for event in _paced(client, client.events(path, order, WATCH_SECONDS), name):
        if event.get("event") == "result":
            return event
        watch(event)
    return None


def _paced(client: AgentClient, events: Iterator[Event], name: str) -> Iterator[Event]:
    """The events as they come and, while none do, the status."""
    waiting: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for event in events:
                waiting.put(event)
            waiting.put(None)
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    other = type(client)(client.path, client.timeout)  # a client is for one thread
    while True:
        try:
            event = waiting.get(timeout=1.0)
        except queue.Empty:
            told = look(other, name)
            if told:
                yield {"event": "status", **told}
            continue
        if event is None:
            return
        if isinstance(event, BaseException):
            raise event
        yield event


def look(client: AgentClient, name: str) -> Event:
    """What the agent tells of one sidecar; nothing if it does not."""
    try:
        found = client.get(f"/status?name={quote(name)}").get("sidecars") or [{}]
    except errors.HotswapError:
        return {}
    return dict(found[0])


def settled(client: AgentClient, names: Collection[str] | None, since: float, watch: Watch) -> list[Event]:
    """The result of each of these sidecars (None: of all) once nothing is under way for any of them.

    `since`: when it was ordered, seconds since the epoch. Raises `AgentNotRunning` if the agent does not come back.
    """
    states: dict[str, str] = {}
    heard = time.monotonic()
    while True:
        try:
            told = client.get("/status").get("sidecars") or []
            heard = time.monotonic()
        except (AgentNotRunning, AnswerLost):
            if time.monotonic() - heard > BACK_SECONDS:
                raise
            time.sleep(LOOK_SECONDS)
            continue
        mine = [one for one in told if names is None or one.get("name") in names]
        for one in mine:
            before = states.get(one["name"])
            states[one["name"]] = one["state"]
            if before != one["state"] and not (before is None and _rests(one)):
                watch({"event": "state", "name": one["name"], "state": one["state"], "why": one.get("waits") or ""})
            watch({"event": "status", **one})
        if all(_rests(one) for one in mine):
            return [_result(client, one, since) for one in mine]
        time.sleep(LOOK_SECONDS)


def _rests(told: Mapping[str, Any]) -> bool:
    """Nothing is under way, and nothing is about to begin."""
    if told.get("state") == "absent":
        return told.get("wanted") is None or bool(told.get("waits"))
    return told.get("state") in RESTS and not told.get("operation")


def _result(client: AgentClient, told: Mapping[str, Any], since: float) -> Event:
    """From the history, what came of it; without an entry nothing did."""
    name = str(told["name"])
    entries = client.get(f"/history?name={quote(name)}&limit=200").get("history") or []
    ended = [one for one in entries if one.get("what") in OUTCOMES and (one.get("at") or 0.0) >= since]
    result: Event = {"event": "result", "name": name, "release": told.get("release"), "state": told.get("state")}
    if ended:
        code = OUTCOMES[ended[-1]["what"]]
        message = ended[-1]["what"] + (f": {ended[-1]['text']}" if ended[-1].get("text") else "")
    elif told.get("state") == "waiting":
        code = StartFailed.exit_code
        reasons = [str(one.get("text")) for one in entries if one.get("what") == "cannot start" and one.get("text")]
        message = str(told.get("waits") or "") or (reasons[-1] if reasons else "could not be started")
    else:
        code = 0
        release = f", release {told['release']}" if told.get("release") else ""
        message = str(told.get("waits") or f"{told.get('state')}{release}")
    return {**result, "ok": code == 0, "exit_code": code, "message": message}


def gone(name: str) -> Event:
    """The result of a sidecar that the agent knows no more."""
    return {"event": "result", "name": name, "ok": True, "exit_code": 0, "message": "is no more", "release": ""}
