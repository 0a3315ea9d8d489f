"""`hotswap drain`: accept nothing more, let the work finish, exit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from hotswap.cli.options import Duration, client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import print_json, span
from hotswap.control_client import AnswerLost, ControlClient
from hotswap.errors import DeadlinePassed, NotRunning

DEFAULT_DEADLINE = 30.0
POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0  # beyond the drain's own deadline, for the process to end


@click.command()
@name_argument()
@click.option(
    "--deadline", type=Duration(), default=DEFAULT_DEADLINE, show_default="30s", help="When what is left is ended."
)
@click.option("--wait", is_flag=True, help="Return when the server has ended, not at once.")
@json_option
@runtime_dir_option
def drain(name: str, deadline: float, runtime_dir: Path, *, wait: bool, as_json: bool) -> None:
    """Let NAME finish its work and exit: no new connections, those open end or are ended at the deadline."""
    client = client_of(runtime_dir, name)
    answer = client.post("/drain", {"deadline": deadline})
    ended = wait and _wait_for_the_end(client, deadline + GRACE_SECONDS)
    if as_json:
        print_json({**answer, "ended": ended} if wait else answer)
    elif ended:
        click.echo(f"{name}: drained and ended")
    else:
        click.echo(f"{name}: draining; ends within {span(deadline)}")


def _wait_for_the_end(client: ControlClient, patience: float) -> bool:
    until = time.monotonic() + patience
    left: Any = "some"
    while time.monotonic() < until:
        try:
            left = client.get("/status").get("connections")
        except (NotRunning, AnswerLost):
            return True
        time.sleep(POLL_SECONDS)
    raise DeadlinePassed(
        f"{client.name}: still runs {span(patience)} after the order to drain, {left} connections left; "
        f"see 'hotswap connections {client.name}', and end it with SIGTERM or SIGKILL if it must go"
    )
