"""How an order that is waited for is shown: a line that changes on a terminal, lines elsewhere, or events as JSON."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
import msgspec

from hotswap.cli.output import block, headline
from hotswap.cli.progress import Line
from hotswap.errors import HotswapError
from vm_agent.cli.following import RESTS
from vm_agent.cli.words import OUTCOMES, complaint, countdown, described

Event = dict[str, Any]


class Unwatched(HotswapError):
    """The person stopped watching; what was ordered goes on without a witness."""

    exit_code = 130


class Show:
    """Of one command; `back`: a rollback.

    A reason is said once, although it is told by an entry of the history, by the state that follows, and by the result.
    """

    def __init__(self, *, as_json: bool, back: bool = False) -> None:
        self._json = as_json
        self._back = back
        self._ended: Event | None = None
        """An entry that ends something, until it is known what follows."""
        self._line = Line()
        self._live = sys.stderr.isatty()

    def event(self, event: Event) -> None:
        """One, as it comes. A status is shown where a line can change, or nothing else says how long it takes."""
        if self._json:
            if event.get("event") != "status":
                click.echo(msgspec.json.encode(event).decode())
            return
        name, ended = event.get("name"), self._ended
        if event.get("event") == "outcome":  # of a handover, which the next entry or state tells in better words
            return
        if event.get("event") == "note" and event.get("what") in OUTCOMES:
            self._say_what_ended()
            self._ended = event
            return
        if event.get("event") == "status":
            left = countdown(event, time.time())
            if left and self._live:
                self._line.show(f"{name}: {left}")
        elif event.get("event") == "lost":
            self._line.show(f"{name}: the agent does not answer any more; waiting for it to come back")
        elif ended is not None and event.get("event") == "state" and event.get("why") in ("", ended.get("text")):
            if event.get("state") not in RESTS:
                self._say_what_ended()
                self._say({**event, "why": ""})
        else:
            self._say_what_ended()
            self._say(event)

    def _say(self, event: Event) -> None:
        text = f"{event.get('name')}: {described(event, back=self._back)}"
        if self._live and event.get("event") == "note":
            self._line.clear()
            click.echo(text, err=True)
        else:
            self._line.show(headline(text) if self._live else text)

    def _say_what_ended(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._say(ended)

    def result(self, result: Event) -> None:
        """The last one: on standard output if it went well."""
        ended, message = self._ended, result.get("message")
        if ended is not None and message == ended.get("text"):
            self._ended = None
            message = f"{ended.get('what')}: {message}"
        self._say_what_ended()
        self._line.clear()
        name = str(result.get("name"))
        if self._json:
            click.echo(msgspec.json.encode(result).decode())
        elif result.get("ok"):
            click.echo(f"{name}: {block(message)}")
        else:
            click.echo(f"hotswap-agent: {complaint(name, result)}", err=True)

    def interrupted(self, name: str) -> Unwatched:
        """For the one who pressed Ctrl-C."""
        self._say_what_ended()
        self._line.clear()
        what = f" {name}" if name else ""
        return Unwatched(f"no longer watching; it goes on: see 'hotswap-agent status{what}'")


def exit_code(result: Event) -> int:
    """Of a command that ends with this."""
    return 0 if result.get("ok") else int(result.get("exit_code") or 1)
