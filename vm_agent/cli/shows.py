"""How an order that is waited for is shown: a line that changes on a terminal, lines elsewhere, or events as JSON."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
import msgspec

from hotswap.cli.progress import Line
from hotswap.errors import HotswapError
from vm_agent.cli.words import complaint, countdown, described

Event = dict[str, Any]


class Unwatched(HotswapError):
    """The person stopped watching; what was ordered goes on without a witness."""

    exit_code = 130


class Show:
    """Of one command."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._line = Line()
        self._live = sys.stderr.isatty()

    def event(self, event: Event) -> None:
        """One, as it comes. A status is shown where a line can change, or nothing else says how long it takes."""
        if self._json:
            if event.get("event") != "status":
                click.echo(msgspec.json.encode(event).decode())
            return
        name = event.get("name")
        if event.get("event") == "status":
            left = countdown(event, time.time())
            if left and self._live:
                self._line.show(f"{name}: {left}")
        elif event.get("event") == "lost":
            self._line.show(f"{name}: the agent does not answer any more; waiting for it to come back")
        elif event.get("event") == "note" and self._live:
            self._line.clear()
            click.echo(f"{name}: {described(event)}", err=True)
        else:
            self._line.show(f"{name}: {described(event)}")

    def result(self, result: Event) -> None:
        """The last one: on standard output if it went well."""
        self._line.clear()
        name = str(result.get("name"))
        if self._json:
            click.echo(msgspec.json.encode(result).decode())
        elif result.get("ok"):
            click.echo(f"{name}: {result.get('message')}")
        else:
            click.echo(f"hotswap-agent: {complaint(name, result)}", err=True)

    def interrupted(self, name: str) -> Unwatched:
        """For the one who pressed Ctrl-C."""
        self._line.clear()
        what = f" {name}" if name else ""
        return Unwatched(f"no longer watching; it goes on: see 'hotswap-agent status{what}'")


def exit_code(result: Event) -> int:
    """Of a command that ends with this."""
    return 0 if result.get("ok") else int(result.get("exit_code") or 1)
