"""How commands show what they found: tables for people, plain columns for pipes, JSON for programs."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import msgspec

MINUTE, HOUR, DAY = 60, 3600, 86400


def print_json(value: Any) -> None:
    """Indented on a terminal, one line elsewhere."""
    text = msgspec.json.encode(value)
    click.echo(msgspec.json.format(text, indent=2 if sys.stdout.isatty() else 0).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on a terminal, aligned columns with a heading elsewhere. Numbers stand to the right."""
    cells = [[plain(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    if sys.stdout.isatty():
        _print_rich(columns, cells, numeric)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [[column.upper() for column in columns], *cells]:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _print_rich(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
    # Imported here and nowhere else: rich takes longer to import than most commands to run.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for line in cells:
        table.add_row(*(Text(text) for text in line))
    Console(highlight=False).print(table)


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """``name   value``, a line each; a value of several lines stays in its column."""
    found = list(pairs)
    width = max((len(name) for name, _ in found), default=0)
    for name, value in found:
        click.echo(f"  {name.ljust(width)}  {block(value, width + 4)}".rstrip())


def columns_of(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys of these entries in the order of their first appearance."""
    return list(dict.fromkeys(key for entry in entries for key in entry))


def plain(value: Any) -> str:
    """One line of printable text, whatever a value holds: what strangers sent must not drive a terminal."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def headline(value: Any) -> str:
    """The first line of a text, for a table; with the one after it if it only announces that."""
    lines = [line for line in str(value).split("\n") if line.strip()] if isinstance(value, str) else []
    if not lines:
        return plain(value)
    return plain(" ".join([lines[0], lines[1].strip()] if lines[0].endswith(":") and lines[1:] else lines[:1]))


def block(value: Any, indent: int = 4) -> str:
    """A text of several lines, each printable: those after the first are indented by so many columns."""
    if not isinstance(value, str):
        return plain(value)
    first, *rest = [plain(line) for line in value.expandtabs().rstrip("\n").split("\n")]
    return "\n".join([first, *textwrap.indent(textwrap.dedent("\n".join(rest)), " " * indent).splitlines()])


def count(number: Any, noun: str) -> str:
    """``1 listener``, ``3 listeners``; a missing number is none."""
    number = number or 0
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A length of time for people: ``2.1 ms``, ``41 s``, ``3 h 20 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"
    if seconds < DAY:
        return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
    return f"{seconds // DAY:.0f} d {seconds % DAY // HOUR:.0f} h"


def age(then: Any, now: float) -> str:
    """How long ago a wall-clock time (seconds since the epoch) was."""
    return span(max(now - then, 0.0)) if isinstance(then, int | float) else plain(then)


def moment(then: Any) -> str:
    """A wall-clock time (seconds since the epoch) in local time; anything else as it is."""
    if not isinstance(then, int | float):
        return plain(then)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then))
