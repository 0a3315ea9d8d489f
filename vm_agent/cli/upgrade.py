"""`hotswap-agent upgrade` and `rollback`: now, and by hand."""

from __future__ import annotations

import sys
from typing import Any

import click

from hotswap.cli.output import print_json
from hotswap.errors import RolledBack
from vm_agent.cli.following import confirmed, follow
from vm_agent.cli.options import Where, agent_option, json_option, name_argument, wait_option
from vm_agent.cli.shows import Show, exit_code


@click.command()
@name_argument()
@click.option("--release", default="", metavar="VERSION", help="Write this release into the spec first.")
@wait_option
@json_option
@agent_option
def upgrade(name: str, release: str, where: Where, *, wait: bool, as_json: bool) -> None:
    """Have NAME serve the release that its spec wants, now.

    Whatever its window says, and also if it failed before. Exit code 0 means that the release serves and proved itself
    in its bake; 20 that it was taken back, 10 that it never served. In either case the release before has every
    connection.
    """
    order: dict[str, Any] = {"name": name, **({"release": release} if release else {})}
    _carry_out("/upgrade", order, where, wait=wait, as_json=as_json)


@click.command()
@name_argument()
@click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")
@wait_option
@json_option
@agent_option
def rollback(name: str, why: str, where: Where, *, wait: bool, as_json: bool) -> None:
    """Have NAME serve the release from before.

    By the same lossless handover; in a bake the new one is taken back. The release that is left is not tried again
    until the spec changes or 'hotswap-agent upgrade' says so.
    """
    order: dict[str, Any] = {"name": name, **({"why": why} if why else {})}
    _carry_out("/rollback", order, where, wait=wait, as_json=as_json)


def _carry_out(path: str, order: dict[str, Any], where: Where, *, wait: bool, as_json: bool) -> None:
    client = where.client()
    name = str(order["name"])
    if not wait:
        answer = client.post(path, order)
        if as_json:
            print_json({"name": name, **answer})
        else:
            click.echo(f"{name}: ordered; see 'hotswap-agent status {name}'")
        return
    show = Show(as_json=as_json, back=path == "/rollback")
    try:
        result = follow(client, path, order, show.event)
        if path == "/upgrade":
            result = confirmed(client, result, str(order.get("release") or ""))
        elif result.get("exit_code") == RolledBack.exit_code:  # which is what was ordered
            result = {**result, "ok": True, "exit_code": 0}
    except KeyboardInterrupt:
        raise show.interrupted(name) from None
    show.result(result)
    sys.exit(exit_code(result))
