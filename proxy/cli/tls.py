"""`hotswap tls`: whether the connections to endpoints are encrypted, and the change from one to the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from hotswap.cli.options import Duration, client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import count, plain, print_json, print_table, span
from hotswap.cli.progress import Line
from hotswap.errors import DeadlinePassed, UsageError
from proxy.cli.watching import looks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hotswap.control_client import ControlClient

CONFIGURED: Final = "configured"
INTERVAL: Final = 0.25
"""Seconds between two looks."""
COLUMNS: Final = ("cluster", "endpoint", "wanted", "announces", "plaintext", "tls", "trouble")


@click.command()
@name_argument()
@click.argument("wanted", required=False, type=click.Choice(["on", "off", "follow", CONFIGURED]))
@click.option("--cluster", metavar="CLUSTER", help="The cluster that is meant.")
@click.option("--percent", type=click.IntRange(0, 100), help="Encrypt so many of the connections.  [default: 100]")
@click.option("--ramp", type=Duration(), help="Let that share grow evenly for so long.  [default: at once]")
@click.option("--endpoint", metavar="ADDRESS", help="The endpoint that announces.")
@click.option(
    "--announce",
    type=click.Choice(["tls", "plaintext", CONFIGURED]),
    help="What that endpoint accepts, for a cluster that follows.",
)
@click.option("--watch", is_flag=True, help="Show how far it is, until all connections are as wanted.")
@click.option("--timeout", type=Duration(), help="With --watch: give up after so long, with exit code 15.")
@json_option
@runtime_dir_option
def tls(
    name: str,
    wanted: str | None,
    runtime_dir: Path,
    *,
    cluster: str | None,
    percent: int | None,
    ramp: float | None,
    endpoint: str | None,
    announce: str | None,
    timeout: float | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Show which connections of NAME to its endpoints are encrypted, or change that while they are used.

    on, off or follow hold through upgrades, until the configuration wants something new; configured takes the order
    back.
    """
    client = client_of(runtime_dir, name)
    order = _order(wanted, cluster, percent, ramp, endpoint, announce)
    found = [client.post("/tls", order)] if order else _look(client, cluster)
    if watch and found:
        try:
            _watch(client, cluster, timeout, as_json=as_json)
        except KeyboardInterrupt:
            click.echo(f"hotswap: {name}: no longer watched; it goes on", err=True)
        return
    if as_json:
        print_json({"clusters": found})
    elif order:
        for one in found:
            click.echo(f"{name}: {summary(one)}")
    elif not found:
        click.echo(f"{name}: no cluster knows TLS")
    else:
        print_table(COLUMNS, [row for one in found for row in rows(one)])
        for one in found:
            click.echo(f"{name}: {summary(one)}")


def _order(
    wanted: str | None,
    cluster: str | None,
    percent: int | None,
    ramp: float | None,
    endpoint: str | None,
    announce: str | None,
) -> dict[str, Any]:
    """The body of the order; empty for none. Raises `UsageError`."""
    if wanted is None and (percent is not None or ramp is not None):
        raise UsageError("--percent and --ramp go with on or follow: write on --percent 10")
    if wanted in {"off", CONFIGURED} and (percent is not None or ramp is not None):
        raise UsageError(f"--percent and --ramp do not go with {wanted}: write on or follow")
    if (endpoint is None) is not (announce is None) or (announce is not None and wanted is not None):
        raise UsageError("an endpoint announces by --endpoint ADDRESS --announce tls, and by nothing else")
    if wanted is None and announce is None:
        return {}
    if cluster is None:
        raise UsageError("which cluster is meant? Write --cluster CLUSTER")
    if announce is not None:
        return {"cluster": cluster, "endpoint": endpoint, "announces": announce}
    return {"cluster": cluster, "wanted": wanted, "percent": 100 if percent is None else percent, "ramp": ramp or 0.0}


def _look(client: ControlClient, cluster: str | None) -> list[dict[str, Any]]:
    """The entries of all clusters that know TLS, or of this one. Raises `HotswapError`."""
    found: list[dict[str, Any]] = client.get("/tls")["clusters"]
    if cluster is None:
        return found
    chosen = [one for one in found if one["name"] == cluster]
    if not chosen:
        remedy = f"give it tls, or see 'hotswap tls {client.name}'"
        raise UsageError(f"{client.name}: no cluster {cluster!r} knows TLS; {remedy}")
    return chosen


def _watch(client: ControlClient, cluster: str | None, timeout: float | None, *, as_json: bool) -> None:
    """Until all is done. Raises `DeadlinePassed`."""
    began, line = 0.0, Line()
    try:
        for at, found in looks(lambda: _look(client, cluster), INTERVAL):
            began = began or at
            if as_json:
                click.echo(msgspec.json.encode({"clusters": found}))
            else:
                line.show(f"{client.name}: {'; '.join(map(summary, found))}")
            if all(map(done, found)):
                break
            if timeout is not None and at - began > timeout:
                raise DeadlinePassed(f"{client.name}: not done: {'; '.join(map(summary, found))}; it goes on")
    finally:
        line.clear()
    if not as_json:
        for one in found:
            click.echo(f"{client.name}: {summary(one)}, in {span(at - began)}")


def done(one: Mapping[str, Any]) -> bool:
    """Every connection is as wanted, and those that were replaced are gone."""
    return bool(one["settled"]) and not one["retiring"]


def summary(one: Mapping[str, Any]) -> str:
    """How far a cluster is."""
    endpoints = one["endpoints"]
    share, percent = one["share"], one["percent"]
    text = f"{plain(one['name'])}: {plain(one['wanted'])}"
    if share < 100 and one["wanted"] != "off":
        text += f" for {share} %" + (f" on the way to {percent} %" if share < percent else "")
    text += f", {sum(each['plaintext'] for each in endpoints)} plaintext, {sum(each['tls'] for each in endpoints)} TLS"
    text += f", {one['retiring']} retiring"
    if one["retiring"]:
        text += f" with {count(one['retiring_in_flight'], 'request')} in flight"
    troubled = [each for each in endpoints if each.get("reason")]
    if troubled:
        text += f"; {plain(troubled[0]['address'])}: {plain(troubled[0]['reason'])}"
    return text + (": done" if done(one) else "")


def rows(one: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A row an endpoint."""
    return [
        (
            one["name"],
            each["address"],
            each["wanted"],
            each["announces"],
            each["plaintext"],
            each["tls"],
            _trouble(each),
        )
        for each in one["endpoints"]
    ]


def _trouble(each: Mapping[str, Any]) -> str:
    reason = each.get("reason")
    return f"{reason}; again in {span(each['retry_in'])}" if reason else ""
