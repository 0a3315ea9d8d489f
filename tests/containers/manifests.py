"""The manifests of `containers/`: their documents, the containers in them, the commands that these run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from hotswap.cli.main import main
from tests.kit.companion import ROOT

FOLDER = Path(ROOT) / "containers"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
PODS = ("pod.yaml", "native-sidecars.yaml", "sidecarset.yaml")
IMAGE = "localhost/hotswap:"

Mapping = dict[str, Any]


def documents(name: str) -> list[Mapping]:
    """Those of one file."""
    return [one for one in yaml.safe_load_all((FOLDER / name).read_text()) if one is not None]


def document(name: str, kind: str) -> Mapping:
    """The one of that kind."""
    return next(one for one in documents(name) if one["kind"] == kind)


def pod_specs(name: str) -> Iterator[Mapping]:
    """What describes pods in a file; of a SidecarSet, what it puts into them."""
    for one in documents(name):
        spec = one.get("spec", {})
        yield spec["template"]["spec"] if "template" in spec else spec


def containers(name: str) -> Iterator[Mapping]:
    """All of a file."""
    for spec in pod_specs(name):
        yield from [*spec.get("initContainers", ()), *spec.get("containers", ())]


def ours(name: str) -> list[Mapping]:
    """Those of them that run this project's image."""
    return [one for one in containers(name) if one["image"].startswith(IMAGE)]


def commands(name: str) -> Iterator[list[str]]:
    """Every command line in our containers of a file, without the name of the program."""
    for one in ours(name):
        hooks = [hook for hook in one.get("lifecycle", {}).values() if "exec" in hook]
        probes = [probe for key, probe in one.items() if key.endswith("Probe") and "exec" in probe]
        for words in ([*one["command"], *one["args"]], *(each["exec"]["command"] for each in [*hooks, *probes])):
            assert words[0] == "hotswap"
            yield list(words[1:])


def options(container: Mapping) -> dict[str, str]:
    """The long options of what a container runs."""
    return dict(word.removeprefix("--").split("=", 1) for word in container["args"] if "=" in word)


def parse(words: list[str]) -> click.Context:
    """As the command would, without doing anything. Raises `click.UsageError`."""
    name, *rest = words
    command: click.Command | None = main.get_command(click.Context(main), name)
    context = click.Context(main, info_name="hotswap")
    while isinstance(command, click.Group):
        context = click.Context(command, info_name=name, parent=context)
        name, *rest = rest
        command = command.get_command(context, name)
    if command is None:
        raise click.UsageError(f"no such command: {' '.join(words)}")
    return command.make_context(name, rest, parent=context)


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """The path of each field, without the places in lists, and its value as a page writes it."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, f"{at}.{key}" if at else key)
    elif isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        for one in value:
            yield from leaves(one, at)
    elif isinstance(value, list):
        yield at, " ".join(str(one) for one in value)
    else:
        yield at, str(value).lower() if isinstance(value, bool) else str(value)
