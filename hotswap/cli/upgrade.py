"""`hotswap upgrade` and `hotswap rollback`: replace the running generation, and say what came of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import msgspec

from hotswap import turns
from hotswap.attempt import Attempt, Event
from hotswap.cli.baking import DEFAULT_CONDITIONS, bake_of
from hotswap.cli.options import Duration, client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.progress import Progress, complaint, verdict
from hotswap.errors import HotswapError
from hotswap.orders import Order

DEFAULT_TIMEOUT = 30.0
EXTERNAL_TIMEOUT = 120.0  # an image may have to be fetched


class Unwatched(HotswapError):
    """The person stopped watching; the attempt goes on without a witness."""

    exit_code = 130


timeout_option = click.option(
    "--timeout", type=Duration(), help=f"The whole attempt's deadline.  [default: {DEFAULT_TIMEOUT:g}s]"
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Go as far as the new generation is ready, then abort.")
require_all_option = click.option(
    "--require-all", is_flag=True, help="Fail rather than leave a connection behind to drain."
)


force_option = click.option(
    "--force", is_flag=True, help="Try it even if the new generation may not fit into the memory limit."
)


@click.command(context_settings={"ignore_unknown_options": False})
@name_argument()
@dry_run_option
@timeout_option
@require_all_option
@force_option
@click.option(
    "--external",
    is_flag=True,
    help=f"Start nothing: wait for a successor that somebody else starts, such as a new container.  "
    f"[--timeout: {EXTERNAL_TIMEOUT:g}s]",
)
@click.option("--bake", "bake_seconds", type=Duration(), help="Have the new generation serve on probation for so long.")
@click.option(
    "--abort-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="What takes it back during the bake: error_rate=PERCENT% or crashes=NUMBER. "
    f" [default: {', '.join(DEFAULT_CONDITIONS)}]",
)
@click.option(
    "--min-requests",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Requests before the error rate says anything.",
)
@json_option
@runtime_dir_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def upgrade(
    name: str,
    command: tuple[str, ...],
    timeout: float | None,
    bake_seconds: float | None,
    conditions: tuple[str, ...],
    min_requests: int,
    runtime_dir: Path,
    *,
    dry_run: bool,
    require_all: bool,
    force: bool,
    external: bool,
    as_json: bool,
) -> None:
    """Replace the generation that serves NAME by a new one, keeping every connection.

    The running generation starts the new one: with its own command line, or with COMMAND (after --) in the current
    directory; with --external somebody else does. Exit code 0 means that the new generation owns and, with --bake,
    has proved itself.
    """
    bake = bake_of(bake_seconds, conditions, min_requests)
    order = Order(
        command=list(command) or None,
        cwd=os.getcwd(),  # noqa: PTH109  as the shell sees it: what the new generation's relative paths mean
        timeout=timeout or (EXTERNAL_TIMEOUT if external else DEFAULT_TIMEOUT),
        dry_run=dry_run,
        require_all=require_all,
        force=force,
        external=external,
        bake=bake,
    )
    _carry_out(runtime_dir, name, order, as_json=as_json)


@click.command()
@name_argument()
@dry_run_option
@timeout_option
@require_all_option
@force_option
@json_option
@runtime_dir_option
def rollback(
    name: str, timeout: float | None, runtime_dir: Path, *, dry_run: bool, require_all: bool, force: bool, as_json: bool
) -> None:
    """Replace the generation that serves NAME by the version before it, keeping every connection.

    It is an upgrade to the command of the generation that served before, as 'hotswap history NAME' lists it; if that
    one stands by in another container, it is told to take over again.
    """
    order = Order(
        cwd=os.getcwd(),  # noqa: PTH109  like upgrade
        timeout=timeout or DEFAULT_TIMEOUT,
        dry_run=dry_run,
        require_all=require_all,
        force=force,
        rollback=True,
    )
    _carry_out(runtime_dir, name, order, as_json=as_json)


def _carry_out(runtime_dir: Path, name: str, order: Order, *, as_json: bool) -> None:
    client = client_of(runtime_dir, name)
    client.timeout = min(client.timeout, order.timeout + 1)
    attempt = Attempt(client, order)
    progress = Progress(name)
    try:
        with turns.long_ones():
            result = attempt.run(_print_event if as_json else progress.show)
    except KeyboardInterrupt:
        progress.clear()
        raise Unwatched(f"{name}: no longer watching; the attempt goes on: see 'hotswap status {name}'") from None
    ok = bool(result.get("ok"))
    if not as_json:
        if ok:
            click.echo(verdict(name, result, before=attempt.generation_before, dry_run=order.dry_run))
        else:
            click.echo(f"hotswap: {complaint(name, result)}", err=True)
    sys.exit(0 if ok else int(result.get("exit_code") or 1))


def _print_event(event: Event) -> None:
    click.echo(msgspec.json.encode(event).decode())
