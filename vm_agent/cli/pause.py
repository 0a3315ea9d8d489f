"""`hotswap-agent pause` and `resume`: whether upgrades begin by themselves."""

from __future__ import annotations

import click

from hotswap.cli.output import print_json
from vm_agent.cli.options import Where, agent_option, json_option, name_argument


@click.command()
@name_argument()
@json_option
@agent_option
def pause(name: str, where: Where, *, as_json: bool) -> None:
    """Begin no upgrade of NAME by itself until it is resumed.

    One that is under way goes on. What crashes is started anew, and what is ordered by hand is done.
    """
    _order("/pause", name, where, as_json=as_json, told="paused: no upgrade begins until 'hotswap-agent resume'")


@click.command()
@name_argument()
@json_option
@agent_option
def resume(name: str, where: Where, *, as_json: bool) -> None:
    """Undo pause: what NAME's spec wants is done from now on."""
    _order("/resume", name, where, as_json=as_json, told="resumed: what its spec wants is done from now on")


def _order(path: str, name: str, where: Where, told: str, *, as_json: bool) -> None:
    answer = where.client().post(path, {"name": name})
    if as_json:
        print_json({"name": name, **answer})
    else:
        click.echo(f"{name}: {told}")
