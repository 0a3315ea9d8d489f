"""`hotswap probe`: what an orchestrator asks a container, by executing it inside.

    ready   the name is served, by this container or another one: on either side of an upgrade clients are let in
    live    this container's process is not hung. Only the owner can be: others have nothing to do but to exist
    owner   the owner lives in this container

Which container is which is told by its mount namespace (`hotswap.place`), never by a pid.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from hotswap.cli.options import Duration, client_of, json_option, name_argument, only_name, runtime_dir_option
from hotswap.cli.output import print_json
from hotswap.container import is_empty
from hotswap.errors import HotswapError, NotRunning, OwnerHung
from hotswap.place import here, signed

LOOK_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 3.0
"""Below what kubelets are usually told to wait for a probe (`timeoutSeconds`)."""


@dataclass(frozen=True)
class Answer:
    """Yes or no, and why."""

    yes: bool
    why: str


@click.command()
@click.argument("question", type=click.Choice(["ready", "live", "owner"]))
@name_argument(required=False)
@click.option("--wait", is_flag=True, help="Until the answer is yes.")
@click.option("--timeout", type=Duration(), help="For the answer.  [default: 3s, with --wait 60s]")
@click.option("--or-idle", is_flag=True, help="owner: yes also if this container stands by.")
@json_option
@runtime_dir_option
def probe(
    question: str,
    name: str | None,
    timeout: float | None,
    runtime_dir: Path,
    *,
    wait: bool,
    or_idle: bool,
    as_json: bool,
) -> None:
    """Answer an orchestrator: exit code 0 is yes, 1 is no.

    ready: NAME is served, by whichever container. live: what runs in this container is not hung. owner: what serves
    NAME runs in this container. Without NAME it is the only one there is. In an empty container all answers are yes.
    """
    until = time.monotonic() + (timeout or (60.0 if wait else ANSWER_SECONDS))
    while True:
        left = until - time.monotonic()
        answer = _asked(question, name, runtime_dir, min(max(left, 0.1), ANSWER_SECONDS), or_idle=or_idle)
        if answer.yes or not wait or left <= 0:
            break
        time.sleep(LOOK_SECONDS)
    if as_json:
        print_json({"question": question, "yes": answer.yes, "why": answer.why})
    else:
        click.echo(f"{'yes' if answer.yes else 'no'}: {answer.why}", err=not answer.yes)
    sys.exit(0 if answer.yes else 1)


def _asked(question: str, name: str | None, runtime_dir: Path, seconds: float, *, or_idle: bool) -> Answer:
    if is_empty(None, os.environ):
        return Answer(True, "this container is empty")
    try:
        name = name or only_name(runtime_dir)
        client = client_of(runtime_dir, name)
        client.timeout = seconds
        if question == "ready":
            return Answer(True, client.fetch("/ready", "text/plain").decode(errors="replace").strip())
        status = client.get("/status?brief=1")
    except NotRunning as error:
        return Answer(True, "nobody serves yet, or any more") if question == "live" else Answer(False, str(error))
    except OwnerHung as error:
        elsewhere = question == "live" and name is not None and signed(runtime_dir / name / "lock") not in {"", here()}
        return Answer(elsewhere, f"another container does not answer: {error}" if elsewhere else str(error))
    except HotswapError as error:  # no proof that anything hangs, and only that is a reason to end it
        return Answer(question == "live", str(error))
    return _live(status) if question == "live" else _owner(status, or_idle=or_idle)


def _live(status: dict[str, Any]) -> Answer:
    mine = status.get("place") == here()
    return Answer(True, "it answers" if mine else "another container serves, this one exists")


def _owner(status: dict[str, Any], *, or_idle: bool) -> Answer:
    place, generation = here(), status.get("generation")
    if status.get("place") == place:
        return Answer(True, f"generation {generation} serves in this container")
    if or_idle and any(one.get("place") == place for one in status.get("standbys") or ()):
        return Answer(True, f"this container stands by for generation {generation}")
    return Answer(False, f"generation {generation} serves in another container")
