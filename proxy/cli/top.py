"""`hotswap top`: what a proxy does right now, on a screen that stays up through its upgrades."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hotswap.cli.options import Duration, client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import plain, print_json, span
from proxy.cli.picture import Look, Picture, Traffic, last_upgrade, picture
from proxy.cli.watching import Screen, look, looks

if TYPE_CHECKING:
    from proxy.cli.picture import Group

UNITS = ("B", "KB", "MB", "GB", "TB")


@click.command()
@name_argument()
@click.option("--interval", type=Duration(), default=1.0, show_default="1s", help="From one look to the next.")
@click.option("--once", is_flag=True, help="One picture of one interval, then end; so without a terminal.")
@json_option
@runtime_dir_option
def top(name: str, interval: float, runtime_dir: Path, *, once: bool, as_json: bool) -> None:
    """Watch NAME: rates, latencies, connections, endpoints, generations. Ends with Ctrl-C.

    It stays up through upgrades, and waits for a NAME that is gone to come back.
    """
    client = client_of(runtime_dir, name)
    every = looks(lambda: (look(client), client.get("/status?brief")), interval)
    if once or as_json or not sys.stdout.isatty():
        (began, before), (at, (families, status)) = next(every), next(every)
        told = picture(Look(before[0], began), Look(families, at))
        if as_json:
            print_json(as_plain(told))
        else:
            click.echo("\n".join(lines(name, status, told)))
        return
    last: Look | None = None
    try:
        with Screen() as screen:
            for at, (families, status) in every:
                now = Look(families, at)
                screen.show(lines(name, status, picture(last, now)))
                last = now
    except KeyboardInterrupt:
        sys.exit(0)


def as_plain(told: Picture) -> dict[str, Any]:
    """For programs: the fields of `Picture`, connections as a list."""
    connections = [
        {"protocol": protocol, "encryption": secure, "now": count}
        for (protocol, secure), count in told.connections.items()
    ]
    return {**asdict(told), "connections": connections}


# ---- one picture as lines of text ----


def lines(name: str, status: dict[str, Any], told: Picture) -> list[str]:
    """The whole picture."""
    upgraded = last_upgrade(status)
    return [
        f"{name}  generation {told.generation}  {plain(status.get('state'))}  version {plain(status.get('version'))}",
        f"last upgrade: {plain(upgraded)}" if upgraded else "started cold, not upgraded since",
        "",
        f"requests {told.traffic.rate:10.1f}/s   failed {_percent(told.traffic)}   {_durations(told.traffic)}",
        f"bytes in {_bytes(told.received):>10}/s   out {_bytes(told.sent)}/s   connects {told.fresh:.1f}/s",
        "",
        *_table(
            ("CONNECTIONS", "ENCRYPTION", "NOW"),
            [(protocol, secure, str(count)) for (protocol, secure), count in told.connections.items()],
        ),
        "",
        *_table(
            ("LISTENER", "CONNECTIONS", "REQUESTS/S", "FAILED", "P50", "P90", "P99", "TROUBLE"),
            [(plain(one.name), str(one.connections), *_traffic(one)) for one in told.listeners],
        ),
        "",
        *_table(
            ("CLUSTER", "IN USE", "CONNECTIONS", "IDLE", "REQUESTS/S", "FAILED", "P50", "P90", "P99", "TROUBLE"),
            [
                (
                    plain(one.name),
                    f"{one.healthy}/{one.endpoints}",
                    str(one.connections),
                    str(one.idle),
                    *_traffic(one),
                )
                for one in told.clusters
            ],
        ),
        "",
        *_table(
            ("GENERATION", "CPU", "MEMORY", "DESCRIPTORS"),
            [
                (
                    plain(one.generation),
                    "-" if one.cpu is None else f"{one.cpu:.1%}",
                    _bytes(one.resident),
                    f"{one.descriptors:.0f}",
                )
                for one in told.processes
            ],
        ),
    ]


def _traffic(group: Group) -> tuple[str, ...]:
    traffic = group.traffic
    troubles = ", ".join(f"{what} {rate:.1f}/s" for what, rate in group.troubles.items() if rate)
    return f"{traffic.rate:.1f}", _percent(traffic), *map(_duration, traffic.quantiles), troubles or "-"


def _percent(traffic: Traffic) -> str:
    return f"{traffic.failed:.2%}"


def _durations(traffic: Traffic) -> str:
    p50, p90, p99 = map(_duration, traffic.quantiles)
    return f"p50 {p50}  p90 {p90}  p99 {p99}"


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


def _bytes(number: float) -> str:
    for unit in UNITS[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {UNITS[-1]}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The first column and the last one of text to the left, the others to the right."""
    left = {0, *(at for at, head in enumerate(heads) if head in {"ENCRYPTION", "TROUBLE"})}
    widths = [max(len(row[at]) for row in [heads, *rows]) for at in range(len(heads))]
    return [
        "  ".join(
            text.ljust(width) if at in left else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *rows]
    ]
