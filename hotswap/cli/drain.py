"""`hotswap drain`: accept nothing more, let the work finish, exit. Shown as it goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from hotswap.cli.options import Duration, client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import count, plain, print_json, span
from hotswap.cli.progress import Line
from hotswap.control_client import AnswerLost, ControlClient
from hotswap.errors import DeadlinePassed, NotRunning

DAY = 86400.0
GRACE_SECONDS = 5.0  # beyond the drain's own deadline, for the process to end


class DelayParam(Duration):
    """A duration that may be zero."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a duration."""
        return 0.0 if value in ("0", "0s") else super().convert(value, param, ctx)


@click.command()
@name_argument()
@click.option("--deadline", type=Duration(), help="When what is left is ended.  [default: drain_timeout as configured]")
@click.option(
    "--delay",
    type=DelayParam(),
    help="How long the listeners stay open while /ready fails already.  [default: drain_delay as configured]",
)
@click.option("--wait/--no-wait", default=True, help="Follow it to its end (the default), or return at once.")
@json_option
@runtime_dir_option
def drain(
    name: str, deadline: float | None, delay: float | None, runtime_dir: Path, *, wait: bool, as_json: bool
) -> None:
    """Let NAME finish its work and exit: no new connections, those open end or are ended at the deadline."""
    client = client_of(runtime_dir, name)
    order = {"deadline": deadline, "delay": delay}
    if not wait:
        answer = client.post("/drain", order)
        if as_json:
            print_json(answer)
        else:
            click.echo(f"{name}: draining; {count(answer.get('in_flight'), 'request')} in flight")
        return
    result = _follow(client, order, (deadline or DAY) + GRACE_SECONDS, as_json=as_json)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    elif result.get("ok"):
        click.echo(f"{name}: drained and ended in {span(result.get('took_s') or 0.0)}")
    else:
        click.echo(f"hotswap: {name}: {plain(result.get('message'))}; give more time by --deadline", err=True)
    sys.exit(int(result.get("exit_code") or 0))


def _follow(client: ControlClient, order: Mapping[str, Any], patience: float, *, as_json: bool) -> dict[str, Any]:
    """Show what happens until it is over. Raises `DeadlinePassed` if that never comes."""
    line = Line()
    last: dict[str, Any] = {}
    try:
        for event in client.events("/drain", {**order, "watch": True}, patience):
            if event.get("event") == "result":
                return event
            last = event
            if as_json:
                click.echo(msgspec.json.encode(event).decode())
            else:
                line.show(f"{client.name}: {described(event)}")
    except AnswerLost as lost:
        return _found_out(client, last, lost)
    finally:
        line.clear()
    return _found_out(client, last, AnswerLost(f"{client.name}: the answer ended without a result"))


def described(event: Mapping[str, Any]) -> str:
    """How far it is."""
    listeners = "still accepting" if event.get("listeners") == "open" else "accepting nothing more"
    left = event.get("left_s")
    return (
        f"draining, {listeners}: {count(event.get('connections'), 'connection')}, "
        f"{count(event.get('in_flight'), 'request')} in flight"
        + (f"; at most {span(left)} left" if isinstance(left, int | float) else "")
    )


def _found_out(client: ControlClient, last: Mapping[str, Any], lost: AnswerLost) -> dict[str, Any]:
    """The answer broke off: a server that is gone drained, or was told to end at once."""
    try:
        client.get("/status")
    except NotRunning:
        cut = last.get("connections") or 0
        ended = {"event": "result", "cut": cut, "found_out": True}
        if cut:
            words = f"it ended without saying how, with {count(cut, 'connection')} at the last look"
            return {**ended, "ok": False, "exit_code": DeadlinePassed.exit_code, "message": words}
        return {**ended, "ok": True, "exit_code": 0, "message": "everything was finished"}
    raise DeadlinePassed(
        f"{lost}; it still runs: see 'hotswap connections {client.name}', and end it with SIGTERM if it must go"
    ) from None
