"""`hotswap reload`: have the running generation take its changed configuration, whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hotswap.cli.options import Duration, client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import count, plain, print_json
from hotswap.control_client import AnswerLost, ControlClient
from hotswap.errors import Busy

SIGNS = {"added": "+", "removed": "-", "changed": "~"}
RETRY_SECONDS = 0.1  # until the generation that took over answers
DEFAULT_TIMEOUT = 30.0


@click.command()
@name_argument()
@click.option("--dry-run", is_flag=True, help="Read, check and compare; bind what is new and let go of it again.")
@click.option(
    "--timeout",
    type=Duration(),
    default="30s",
    show_default=True,
    help="How long to wait for a handover under way.",
)
@json_option
@runtime_dir_option
def reload(name: str, timeout: float, runtime_dir: Path, *, dry_run: bool, as_json: bool) -> None:
    """Apply the changed configuration of NAME in place: validated whole, applied or refused whole.

    Connections stay. Exit code 0 means that it is in force (or, with --dry-run, that it could be).
    """
    answer = _order(client_of(runtime_dir, name), timeout, dry_run=dry_run)
    if as_json:
        print_json(answer)
        return
    changes = answer.get("changes") or []
    for change in changes:
        click.echo(described(change))
    if not changes:
        click.echo(f"{name}: nothing to reload: the configuration is the same ({plain(answer.get('config_id'))})")
    elif dry_run:
        click.echo(f"{name}: dry run went well: {count(len(changes), 'change')} could be applied; nothing was")
    else:
        ids = f"{plain(answer.get('before'))} -> {plain(answer.get('config_id'))}"
        click.echo(f"{name}: reloaded: {count(len(changes), 'change')} in force, configuration {ids}")


def _order(client: ControlClient, timeout: float, *, dry_run: bool) -> dict[str, Any]:
    """Ask whoever owns. If that changes while the order waits, ask the new owner."""
    until = time.monotonic() + timeout
    while True:
        left = max(until - time.monotonic(), 0.001)
        client.timeout = left + DEFAULT_TIMEOUT
        try:
            return client.post("/reload", {"dry_run": dry_run, "timeout": left})
        except (Busy, AnswerLost):
            if time.monotonic() >= until:
                raise
            time.sleep(RETRY_SECONDS)


def described(change: Mapping[str, Any]) -> str:
    """One difference, in a line."""
    how = str(change.get("how"))
    detail = change.get("detail")
    return (
        f"  {SIGNS.get(how, '?')} {plain(change.get('what'))} {plain(change.get('name'))} {how}"
        f"{': ' + plain(detail) if detail else ''}"
    )
