"""`hotswap-agent status`: every sidecar, what serves it, and what is under way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import click
import msgspec

from hotswap.cli.output import count, headline, plain, print_json, print_pairs, print_table
from hotswap.errors import HotswapError
from vm_agent.cli.options import Where, agent_option, json_option, name_argument
from vm_agent.cli.words import countdown, operation, since, state_of
from vm_agent.client import AgentClient

LOOK_SECONDS = 0.5
COLUMNS = ("name", "state", "since", "release", "wanted", "pid", "restarts", "health", "note")


@click.command()
@name_argument(required=False)
@click.option("--watch", "-w", is_flag=True, help="Look again and again, until Ctrl-C.")
@json_option
@agent_option
def status(name: str | None, where: Where, *, watch: bool, as_json: bool) -> None:
    """Show what the agent looks after, and how it is.

    NAME in full, or a line for each sidecar.
    """
    client = where.client()
    path = f"/status?name={quote(name)}" if name else "/status"
    if watch:
        _watch(client, path, name, as_json=as_json)
    elif as_json:
        print_json(client.get(path))
    else:
        _show(client.get(path), name, time.time())


def _show(answer: Mapping[str, Any], name: str | None, now: float) -> None:
    sidecars = answer.get("sidecars") or []
    if name and sidecars:
        click.echo(f"{name}: {state_of(sidecars[0], back=_back(sidecars[0]))}")
        print_pairs(_details(sidecars[0], now))
    elif sidecars:
        print_table(COLUMNS, [_row(one, now) for one in sidecars])
    else:
        click.echo("no sidecars")
    for broken in answer.get("broken_specs") or ():
        for line in str(broken.get("error")).splitlines():
            click.echo(f"broken spec: {plain(line)}")


def _row(told: Mapping[str, Any], now: float) -> list[Any]:
    health = told.get("health")
    return [
        told.get("name"),
        told.get("state"),
        since(told.get("since"), now),
        told.get("release") or None,
        told.get("wanted"),
        told.get("pid"),
        told.get("restarts"),
        health.get("word") if isinstance(health, dict) else None,
        _note(told, now),
    ]


def _note(told: Mapping[str, Any], now: float) -> str:
    waits = headline(told.get("waits") or "")
    words = [operation(told), countdown(told, now), waits, "" if _says_paused(waits) else _paused(told)]
    return "; ".join(plain(word) for word in words if word)


def _paused(told: Mapping[str, Any]) -> str:
    return "paused" if told.get("paused") else ""


def _says_paused(waits: str) -> bool:
    return waits.endswith("paused")


def _back(told: Mapping[str, Any]) -> bool:
    under_way = told.get("operation")
    return isinstance(under_way, dict) and under_way.get("back") is True


def _details(told: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    yield "since", since(told.get("since"), now)
    wanted, release = told.get("wanted"), told.get("release")
    yield "release", plain(release or None) + (f", its spec wants {plain(wanted)}" if wanted != release else "")
    if told.get("previous"):
        yield "before", f"{plain(told['previous'])}, the way back"
    if operation(told):
        left = countdown(told, now)
        yield "upgrade", operation(told) + (f": {left}" if left else f": {plain(told['operation'].get('why'))}")
    if told.get("waits"):
        yield "waits", str(told["waits"])
    if told.get("paused"):
        yield "paused", "no upgrade begins until 'hotswap-agent resume'"
    condemned = told.get("condemned")
    if isinstance(condemned, dict):
        yield "condemned", f"{plain(condemned.get('release'))}: {condemned.get('reason')}"
    yield "process", f"pid {plain(told.get('pid'))}, restarted {count(told.get('restarts'), 'time')}"
    held, kept = told.get("held") or (), told.get("kept") or 0
    yield "held", ", ".join(plain(one) for one in held) or (count(kept, "listener") if kept else "nothing")
    health = told.get("health")
    if isinstance(health, dict):
        yield "health", plain(health.get("word")) + (f": {health['text']}" if health.get("text") else "")


# -- again and again ------------------------------------------------------------------------------


def _watch(client: AgentClient, path: str, name: str | None, *, as_json: bool) -> None:
    """On a terminal the picture changes; elsewhere there is a line for each change."""
    before: dict[str, str] = {}
    live = sys.stdout.isatty() and not as_json
    answer = client.get(path)  # what is wrong from the beginning ends this
    try:
        while True:
            if live:
                click.clear()
                _show(answer, name, time.time())
            else:
                before = _changes(answer, before, as_json=as_json)
            time.sleep(LOOK_SECONDS)
            answer = _again(client, path, answer)
    except KeyboardInterrupt:
        return


def _again(client: AgentClient, path: str, before: dict[str, Any]) -> dict[str, Any]:
    """The answer now. An agent that is restarted meanwhile is waited for."""
    try:
        return client.get(path)
    except HotswapError as error:
        return {**before, "broken_specs": [{"error": f"(as it was: {error})"}]}


def _changes(answer: Mapping[str, Any], before: dict[str, str], *, as_json: bool) -> dict[str, str]:
    now = {str(one.get("name")): _line(one) for one in answer.get("sidecars") or ()}
    for told in answer.get("sidecars") or ():
        name = str(told.get("name"))
        if before.get(name) != now[name]:
            click.echo(msgspec.json.encode(told).decode() if as_json else f"{name}: {now[name]}")
    for name in before.keys() - now.keys():
        click.echo(msgspec.json.encode({"name": name, "state": "gone"}).decode() if as_json else f"{name}: is no more")
    return now


def _line(told: Mapping[str, Any]) -> str:
    health = told.get("health")
    words = [
        plain(told.get("state")),
        f"release {plain(told.get('release') or None)}",
        f"pid {plain(told.get('pid'))}",
        plain(health.get("word")) if isinstance(health, dict) else "",
        operation(told),
        headline(told.get("waits") or ""),
        "" if _says_paused(headline(told.get("waits") or "")) else _paused(told),
    ]
    return ", ".join(word for word in words if word)
