"""`hotswap connections`: one line a live connection."""

from __future__ import annotations

from pathlib import Path

import click

from hotswap.cli.options import client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import columns_of, print_json, print_table


@click.command()
@name_argument()
@json_option
@runtime_dir_option
def connections(name: str, runtime_dir: Path, *, as_json: bool) -> None:
    """List the live connections of NAME. What a column means is the server's own: see its manual."""
    answer = client_of(runtime_dir, name).get("/connections")
    if as_json:
        print_json(answer)
        return
    entries = answer.get("connections") or []
    if not entries:
        click.echo(f"{name} has no connections")
        return
    columns = columns_of(entries)
    print_table(columns, [[entry.get(column) for column in columns] for entry in entries])
