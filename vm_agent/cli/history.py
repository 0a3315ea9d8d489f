"""`hotswap-agent history`: every decision with its reason."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click
import msgspec

from hotswap.cli.output import block, moment, plain, print_json, print_table
from hotswap.errors import HotswapError
from vm_agent.cli.options import Where, agent_option, json_option, name_argument
from vm_agent.client import AgentClient

LOOK_SECONDS = 0.5
AGAIN = 500
"""Entries asked for in each look after the first."""
COLUMNS = ("when", "sidecar", "what", "why")


@click.command()
@name_argument(required=False)
@click.option("-n", "limit", type=click.IntRange(1, 5000), default=100, show_default=True, help="Entries at most.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is decided from now on.")
@json_option
@agent_option
def history(name: str | None, limit: int, where: Where, *, follow: bool, as_json: bool) -> None:
    """Show what was decided for NAME, or for all, and why.

    The last entries, the oldest first; without NAME those of all sidecars and of the agent.
    """
    client = where.client()
    if follow:
        _follow(client, name, limit, as_json=as_json)
        return
    answer = client.get(_path(name, limit))
    if as_json:
        print_json(answer)
        return
    entries = answer.get("history") or []
    if not entries:
        click.echo(f"{name or 'the agent'} has no history yet")
        return
    print_table(COLUMNS, [line for entry in entries for line in _lines(_row(entry))])


def _path(name: str | None, limit: int) -> str:
    return f"/history?limit={limit}" + (f"&name={quote(name)}" if name else "")


def _row(entry: Mapping[str, Any]) -> list[Any]:
    return [moment(entry.get("at")), entry.get("name") or "(agent)", entry.get("what"), entry.get("text") or ""]


def _lines(row: list[Any]) -> list[list[Any]]:
    """A reason of several lines takes as many of the table."""
    first, *rest = block(row[-1]).split("\n")
    return [[*row[:-1], first], *([*[""] * (len(row) - 1), line] for line in rest)]


def _follow(client: AgentClient, name: str | None, limit: int, *, as_json: bool) -> None:
    """An agent that is restarted meanwhile is waited for."""
    shown: set[bytes] = set()
    first = True
    try:
        while True:
            try:
                entries = client.get(_path(name, max(limit, AGAIN))).get("history") or []
            except HotswapError:
                if first:
                    raise
                entries = []
            keys = [msgspec.json.encode(entry) for entry in entries]
            for entry, key in [*zip(entries, keys, strict=True)][-limit if first else 0 :]:
                if key not in shown:
                    _print(entry, key, as_json=as_json)
            shown = set(keys) or shown
            first = False
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        return


def _print(entry: Mapping[str, Any], line: bytes, *, as_json: bool) -> None:
    if as_json:
        click.echo(line.decode())
        return
    *cells, why = _row(entry)
    when, who, what = (plain(cell) for cell in cells)
    click.echo(f"{when}  {who}: {what}{': ' if why else ''}{block(why)}")
