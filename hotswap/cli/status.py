"""`hotswap status`: who serves, since when, and what."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from hotswap.cli.baking import described
from hotswap.cli.options import client_of, json_option, name_argument, runtime_dir_option
from hotswap.cli.output import age, count, plain, print_json, print_pairs, print_table, span
from hotswap.control_client import ControlClient, running_names
from hotswap.errors import HotswapError

LIST_SECONDS = 2.0  # a name that does not answer holds the list up for this long at most


@click.command()
@name_argument(required=False)
@json_option
@runtime_dir_option
def status(name: str | None, runtime_dir: Path, *, as_json: bool) -> None:
    """Show what serves NAME, or all names that run."""
    if name is None:
        _show_all(runtime_dir, as_json=as_json)
        return
    answer = client_of(runtime_dir, name).get("/status")
    if as_json:
        print_json(answer)
        return
    click.echo(f"{name}: generation {plain(answer.get('generation'))}, {plain(answer.get('state'))}")
    print_pairs(_details(answer, time.time()))


def _details(answer: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    build = answer.get("build")
    yield "version", plain(answer.get("version")) + (f" (build {plain(build)})" if build else "")
    yield "process", f"pid {plain(answer.get('pid'))}, since {age(answer.get('started'), now)}"
    yield "config", plain(answer.get("config_id")) + _reloaded(answer.get("last_reload"), now)
    yield from _baking(answer.get("baking"))
    yield (
        "listeners",
        ", ".join(f"{plain(x.get('name'))} {plain(x.get('address'))}" for x in answer.get("listeners") or ()),
    )
    yield from _standbys(answer.get("standbys") or ())
    yield "connections", f"{answer.get('connections', 0)}, {count(answer.get('in_flight'), 'request')} in flight"
    last = answer.get("last_upgrade")
    yield "last upgrade", _last_upgrade(last, now) if isinstance(last, dict) and last else "none"
    server = answer.get("server")
    for key, value in server.items() if isinstance(server, dict) else ():
        if isinstance(value, str | int | float):
            yield key, plain(value)
        elif isinstance(value, list):
            yield from ((key, plain(entry["line"])) for entry in value if isinstance(entry, dict) and "line" in entry)


def _standbys(standbys: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for one in standbys:
        was = f"generation {plain(one.get('generation'))}" if one.get("generation") else "it has not served"
        told = one.get("revision", -1)
        order = f", revision {told}" if isinstance(told, int) and told >= 0 else ""
        yield "stands by", f"version {plain(one.get('version'))} (build {plain(one.get('build'))}){order}, {was}"


def _last_upgrade(last: Mapping[str, Any], now: float) -> str:
    words = []
    if "ok" in last:
        tried = "dry run " if last.get("dry_run") else ""
        words.append(tried + ("went well" if last["ok"] else f"failed (exit code {plain(last.get('exit_code'))})"))
    for key in ("ended", "at", "began"):
        if isinstance(last.get(key), int | float):
            words.append(f"{age(last[key], now)} ago")
            break
    moved = last.get("ok") and not last.get("dry_run")
    if moved and isinstance(last.get("downtime_ms"), int | float):
        words.append(f"downtime {span(last['downtime_ms'] / 1000)}")
    if last.get("connections") is not None and last.get("ok"):
        words.append(f"{count(last['connections'], 'connection')} {'moved' if moved else 'would move'}")
    if last.get("message") and not last.get("ok"):
        words.append(plain(last["message"]))
    return ", ".join(words) or plain(dict(last))


def _baking(baking: Any) -> Iterator[tuple[str, str]]:
    if isinstance(baking, dict):
        yield "baking", described(baking) + f"; taken back if {plain(baking.get('abort_if'))}"


def _reloaded(last: Any, now: float) -> str:
    if not isinstance(last, dict):
        return ""
    when = f"{age(last.get('at'), now)} ago"
    if last.get("ok"):
        return f", reloaded {when}"
    return f", a reload was refused {when}: {plain(last.get('message'))}"


def _show_all(runtime_dir: Path, *, as_json: bool) -> None:
    answers = [_ask(ControlClient(runtime_dir, name, LIST_SECONDS)) for name in running_names(runtime_dir)]
    if as_json:
        print_json({"runtime_dir": str(runtime_dir), "running": answers})
    elif not answers:
        click.echo(f"nothing runs in {runtime_dir}")
    else:
        now = time.time()
        columns = ("name", "state", "generation", "version", "pid", "since", "listeners", "connections", "in flight")
        print_table(columns, [_row(answer, now) for answer in answers])


def _ask(client: ControlClient) -> dict[str, Any]:
    try:
        return client.get("/status")
    except HotswapError as error:
        return {"name": client.name, "state": "no answer", "error": str(error)}


def _row(answer: Mapping[str, Any], now: float) -> list[Any]:
    return [
        answer.get("name"),
        answer.get("state"),
        answer.get("generation"),
        answer.get("version"),
        answer.get("pid"),
        age(answer.get("started"), now),
        len(answer.get("listeners") or ()),
        answer.get("connections"),
        answer.get("in_flight"),
    ]
