"""`hotswap history`: the chain of generations behind a name."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from hotswap.cli.options import client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import headline, moment, plain, print_json, print_table

COLUMNS = ("generation", "began", "how", "outcome", "version", "build", "pid", "command")


@click.command()
@name_argument()
@json_option
@runtime_dir_option
def history(name: str, runtime_dir: Path, *, as_json: bool) -> None:
    """Show the generations of NAME, the oldest first: when each began, how, and what became of it."""
    answer = client_of(runtime_dir, name).get("/history")
    if as_json:
        print_json(answer)
        return
    entries = answer.get("history") or []
    if not entries:
        click.echo(f"{name} has no history yet")
        return
    print_table(COLUMNS, [[_cell(column, entry.get(column)) for column in COLUMNS] for entry in entries])


def _cell(column: str, value: Any) -> Any:
    if column == "began":
        return moment(value)
    if column == "command" and isinstance(value, list):
        return shlex.join(plain(word) for word in value)
    return headline(value) if column == "outcome" else value
