"""`hotswap metrics`: everything that a proxy counts, once or again and again."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from hotswap.cli.options import (
    Duration,
    client_of,
    json_option,
    name_argument,
    runtime_dir_option,
)
from hotswap.cli.output import plain, print_json, print_table
from proxy.cli.watching import Screen, look, looks
from shm_metrics import Collected
from shm_metrics.exposition import Exposition
from shm_metrics.plain import value_of

if TYPE_CHECKING:
    from pathlib import Path

    from hotswap.control_client import ControlClient
    from shm_metrics import Member, Shape

COLUMNS: Final = ("metric", "labels", "value")
USUAL: Final = "2s"
"""Between two looks."""


class Row(NamedTuple):
    """A line of the table."""

    name: str
    labels: str
    value: float
    counts: bool
    """It only grows, so that its rate says something."""


class Pattern(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A click parameter type: a regular expression."""

    name = "regex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> re.Pattern[str]:
        """Compile it."""
        try:
            return re.compile(value)
        except re.error as error:
            self.fail(f"{value!r} is no regular expression: {error}", param, ctx)


@click.command()
@name_argument()
@click.option(
    "--watch",
    type=Duration(),
    is_flag=False,
    flag_value=USUAL,
    metavar="[SECONDS]",
    help=f"Look again and again, with rates, until Ctrl-C. Goes on through upgrades.  [default: every {USUAL}]",
)
@click.option(
    "--filter",
    "pattern",
    type=Pattern(),
    default="",
    metavar="REGEX",
    help='Only those in whose name{label="value",...} this is found.',
)
@json_option
@runtime_dir_option
def metrics(name: str, watch: float | None, pattern: re.Pattern[str], runtime_dir: Path, *, as_json: bool) -> None:
    """Show everything that NAME counts: a table on a terminal, the text that Prometheus scrapes elsewhere."""
    client = client_of(runtime_dir, name)
    if watch is not None:
        try:
            _watch(client, pattern, watch, as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(0)
    families = matching(client, pattern)
    if as_json:
        print_json(msgspec.json.decode(_text(families, "json")))
    elif sys.stdout.isatty():
        print_table(COLUMNS, [(row.name, row.labels, figure(row.value)) for row in rows(families)])
    else:
        click.echo(_text(families, "text"), nl=False)


def matching(client: ControlClient, pattern: re.Pattern[str]) -> list[Collected]:
    """All that the name counts now and the pattern is found in. Raises `HotswapError`."""
    kept = [
        Collected(shape, [one for one in members if pattern.search(_series(shape, one))])
        for shape, members in look(client)
    ]
    return [one for one in kept if one.members]


def _series(shape: Shape, member: Member) -> str:
    return f"{shape.name}{{{_labels(shape, member)}}}"


def _labels(shape: Shape, member: Member) -> str:
    return ",".join(f'{label}="{value}"' for label, value in zip(shape.labels, member.values, strict=True))


def _text(families: list[Collected], form: Any) -> bytes:
    return b"".join(Exposition().pieces(families, form))


# ---- for people ----


def rows(families: list[Collected]) -> list[Row]:
    """A row a member; of a histogram two, how many were observed and their sum."""
    found = []
    for shape, members in families:
        for member in members:
            labels = _labels(shape, member)
            if shape.kind == "histogram":
                found.append(Row(f"{shape.name}_count", labels, sum(member.cells[1:]), counts=True))
                found.append(Row(f"{shape.name}_sum", labels, member.cells[0], counts=True))
            else:
                found.append(Row(shape.name, labels, member.cells[0], shape.kind == "counter"))
    return found


def figure(value: float) -> str:
    """Whole numbers in full, others as far as people care."""
    exact = value_of(value)
    return f"{exact:.6g}" if isinstance(exact, float) else str(exact)


def table(now: list[Row], before: list[Row], seconds: float) -> list[str]:
    """Aligned lines with a heading, and rates of what counts, a second, since the look before."""
    known = {(row.name, row.labels): row.value for row in before}
    cells = [("METRIC", "LABELS", "VALUE", "RATE")]
    for row in now:
        last = known.get((row.name, row.labels))
        rate = "" if last is None or not row.counts else f"{(row.value - last) / seconds:.4g}/s"
        cells.append((row.name, plain(row.labels), figure(row.value), rate))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        f"{name:{widths[0]}}  {labels:{widths[1]}}  {value:>{widths[2]}}  {rate:>{widths[3]}}".rstrip()
        for name, labels, value, rate in cells
    ]


def _watch(client: ControlClient, pattern: re.Pattern[str], interval: float, *, as_json: bool) -> None:
    before: list[Row] = []
    then = 0.0
    every = looks(lambda: matching(client, pattern), interval)
    if as_json:
        for _, families in every:
            click.echo(_one_line(families))
    with Screen(client.name, ": choose by --filter") as screen:
        for at, families in every:
            now = rows(families)
            screen.show(table(now, before, at - then))
            before, then = now, at


def _one_line(families: list[Collected]) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(_text(families, "json")))
