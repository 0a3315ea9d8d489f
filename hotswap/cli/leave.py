"""`hotswap leave`: what a preStop hook calls. SIGTERM does the same to the process itself."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from hotswap.cli.options import Duration, client_of, json_option, name_argument, only_name, runtime_dir_option
from hotswap.cli.output import count, print_json
from hotswap.cli.progress import Line
from hotswap.control_client import AnswerLost
from hotswap.errors import Busy, DeadlinePassed, HotswapError, NotRunning
from hotswap.place import here

LOOK_SECONDS: Final = 0.1


@click.command()
@name_argument(required=False)
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="How long to watch it.")
@json_option
@runtime_dir_option
def leave(name: str | None, timeout: float, runtime_dir: Path, *, as_json: bool) -> None:
    """Have NAME leave this container: hand over to one that takes over already or stands by, else drain.

    Waits until it has left. Does nothing if NAME is served by another container, or by nobody. Without NAME it is the
    only one there is.
    """
    try:
        name = name or only_name(runtime_dir)
        client = client_of(runtime_dir, name)
        client.timeout = min(client.timeout, timeout)
        before = client.get("/status?brief=1")
    except NotRunning:
        why = f"nobody serves {'it' if name else 'anything'} in {runtime_dir}"
        _say(name or "hotswap", {"left": False, "why": why}, as_json=as_json)
        return
    if before.get("place") not in {None, "", here()}:
        _say(name, {"left": False, "why": "another container serves it"}, as_json=as_json)
        return
    with suppress(Busy, NotRunning, AnswerLost):  # it left by itself just now, or was about to: see below
        client.post("/leave", {"life": str(before.get("life", ""))})
    line, until = Line(), time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            now = client.get("/status?brief=1")
        except NotRunning:
            line.clear()
            _say(name, {"left": True, "why": "drained"}, as_json=as_json)
            return
        except HotswapError:
            pass  # it is just about to give everything away, or to end
        else:
            if now.get("life") != before.get("life"):
                line.clear()
                _say(name, {"left": True, "why": f"generation {now.get('generation')} took over"}, as_json=as_json)
                return
            if not as_json:
                line.show(f"{name}: {now.get('state')}, {count(now.get('connections'), 'connection')}")
        time.sleep(LOOK_SECONDS)
    line.clear()
    raise DeadlinePassed(f"{name}: it has not left within {timeout:g} s; see 'hotswap status {name}'")


def _say(name: str, told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        click.echo(f"{name}: {'left' if told['left'] else 'nothing to leave'}: {told['why']}")
