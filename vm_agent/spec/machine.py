"""What a spec needs of the machine it is on: the user, and a configuration of the same name."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from hotswap.settings import document
from hotswap.settings.loader import read_file
from hotswap.settings.problems import InvalidConfig, Problem, nearest, shown
from vm_agent.errors import SpecError
from vm_agent.network import rules
from vm_agent.spec.loader import load_spec_with_warnings
from vm_agent.spec.model import Spec

if TYPE_CHECKING:
    from hotswap.settings.reader import Part


def check_spec(spec: Spec) -> None:
    """Look whether this spec can work here. Raises `SpecError` with all problems; what it says may change any time."""
    part = _part(spec)
    problems = [*_user(spec, part), *_config(spec, part), *_interception(spec)]
    if problems:
        raise SpecError("\n".join(problem.at(spec.file or spec.name) for problem in problems))


def _interception(spec: Spec) -> list[Problem]:
    try:
        rules.plan(spec)
    except SpecError as error:
        key, _, text = str(error).removeprefix(f"{spec.file or spec.name}: ").partition(": ")
        return [Problem(0, key, text)]
    return []


def _part(spec: Spec) -> Part | None:
    """Where its keys stand, if its file still says the same."""
    try:
        loaded = load_spec_with_warnings(Path(spec.file)) if spec.file else None
    except SpecError:
        return None
    return loaded.part if loaded is not None and loaded.spec == spec else None


def _place(part: Part | None, *names: str) -> tuple[int, str]:
    """Line and path of a key."""
    for name in names[:-1]:
        part = None if part is None else part.value(name)
    return (0, ".".join(names)) if part is None else part.place(names[-1])


def _user(spec: Spec, part: Part | None) -> list[Problem]:
    if not spec.run.user:
        return []
    try:
        pwd.getpwnam(spec.run.user)
    except KeyError:
        meant = nearest(spec.run.user, (one.pw_name for one in pwd.getpwall()))
        remedy = f"did you mean {meant}?" if meant else f"make it: useradd --system {spec.run.user}"
        return [Problem(*_place(part, "run", "user"), f"there is no user {spec.run.user}; {remedy}")]
    return []


def _config(spec: Spec, part: Part | None) -> list[Problem]:
    """Only `hotswap run` is known to read a name there."""
    place = _place(part, "config")
    if not Path(spec.config).is_file():
        return [Problem(*place, f"there is no file {spec.config}; put the sidecar's configuration there")]
    if spec.command != Spec(name="", release="", config="").command:
        return []
    try:
        node = document.parse(read_file(Path(spec.config), remedy="make it readable for the agent"))
    except InvalidConfig as invalid:
        return [Problem(*place, str(invalid))]
    except document.Unreadable as error:
        return [Problem(*place, f"{spec.config}:{error.line}: {error}")]
    line, name = node.entries.get("name", (0, None)) if isinstance(node, document.Mapping) else (0, None)
    if not isinstance(name, document.Scalar) or name.text != spec.name:
        told = "nothing" if name is None else document.described(name)
        where = f"{spec.config}:{line}" if line else spec.config
        text = f"{where} has {told} for name, and this spec {shown(spec.name)}; write the same name in both"
        return [Problem(*place, text)]
    return []
