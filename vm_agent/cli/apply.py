"""`hotswap-agent apply`: have specs take effect, and see what comes of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from hotswap.cli.output import print_json
from hotswap.errors import UsageError
from vm_agent.cli.following import follow, gone, settled
from vm_agent.cli.options import Where, agent_option, json_option, settings_of, wait_option
from vm_agent.cli.shows import Show, exit_code
from vm_agent.client import AgentClient
from vm_agent.errors import SpecError
from vm_agent.files import write_whole

APPLY_SECONDS = 60.0


@click.command()
@click.argument("what", nargs=-1, metavar="[FILES or NAMES]...")
@wait_option
@json_option
@agent_option
def apply(what: tuple[str, ...], where: Where, *, wait: bool, as_json: bool) -> None:
    """Have specs take effect, and show what comes of it.

    They do so anyway within seconds. FILES (they end in .yaml, or have a slash) are checked and put into the agent's
    directory of specs, all or none. NAMES are sidecars to wait for; without either it is all of them. Exit code 21 if a
    spec cannot be used: its sidecar goes on as it was.
    """
    client = where.client()
    files = [Path(one) for one in what if _is_file(one)]
    names = [one for one in what if not _is_file(one)]
    if files:
        names += _put(files, _specs(client, where))
    show = Show(as_json=as_json)
    client.timeout = APPLY_SECONDS
    since = time.time()
    if not wait:
        answer = client.post("/apply", {})
        if as_json:
            print_json(answer)
        else:
            click.echo(f"read: {', '.join(answer.get('sidecars') or ()) or 'no sidecars'}")
        return
    results: list[dict[str, Any]] = []
    try:
        if len(names) == 1:
            results = [follow(client, "/apply", {"name": names[0]}, show.event)]
        else:
            known = client.post("/apply", {}).get("sidecars") or []
            found = {str(one["name"]): one for one in settled(client, names or None, since, show.event)}
            wanted = dict.fromkeys([*names] or [*known])
            results = [found.get(name) or gone(name) for name in wanted]
    except KeyboardInterrupt:
        raise show.interrupted("") from None
    for result in results:
        show.result(result)
    if not results and not as_json:
        click.echo("no sidecars")
    sys.exit(next((exit_code(result) for result in results if exit_code(result)), 0))


def _is_file(word: str) -> bool:
    return "/" in word or word.endswith(".yaml")


def _specs(client: AgentClient, where: Where) -> Path:
    """The directory of specs, as the agent says, else its settings. Raises `UsageError` if nobody says."""
    told = client.get("/status").get("specs")
    if isinstance(told, str) and told:
        return Path(told)
    if where.socket is not None and where.settings is None:
        raise UsageError("with --socket say by --settings which directory of specs it is, or copy the files there")
    return Path(settings_of(where.settings).specs)


def _put(files: list[Path], directory: Path) -> list[str]:
    """Put specs into the directory; their names. Raises `SpecError`, and then none is there."""
    from vm_agent.spec.loader import load_spec, load_specs  # noqa: PLC0415  only here
    from vm_agent.spec.machine import check_spec  # noqa: PLC0415  the same

    there = {name: Path(spec.file) for name, spec in load_specs(directory)[0].items()}
    problems: list[str] = []
    places: dict[str, tuple[Path, Path]] = {}
    for file in files:
        try:
            spec = load_spec(file)
            check_spec(spec)
        except SpecError as error:
            problems.append(str(error))
            continue
        place = there.get(spec.name, directory / f"{spec.name}.yaml")
        other = next((name for name, used in there.items() if used == place and name != spec.name), "")
        if other:
            problems.append(f"{file}: name: {place} is the spec of {other}; rename that file first")
        elif spec.name in places:
            problems.append(
                f"{file}: name: {spec.name} is the name in {places[spec.name][0]} as well; give each its own"
            )
        elif not _same(file, place) and not _absolute(file):
            problems.append(
                f"{file}: config: is relative to its directory; write {spec.config}, it moves to {directory}"
            )
        places[spec.name] = (file, place)
    if problems:
        raise SpecError("\n".join(problems))
    for file, place in places.values():
        if not _same(file, place):
            _copy(file, place)
    return list(places)


def _same(file: Path, place: Path) -> bool:
    return place.exists() and file.exists() and file.samefile(place)


def _absolute(file: Path) -> bool:
    """Whether the spec says its configuration by an absolute path."""
    import yaml  # noqa: PLC0415  only here

    return str(yaml.safe_load(file.read_text())["config"]).startswith("/")


def _copy(file: Path, place: Path) -> None:
    try:
        write_whole(place, file.read_bytes(), 0o644)
    except OSError as error:
        raise SpecError(
            f"{place}: cannot be written: {error.strerror}; run this as root, or copy {file} there"
        ) from None
