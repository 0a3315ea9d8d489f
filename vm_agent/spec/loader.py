"""Files -> specs and settings, or every problem in them, a line for each: ``file:line: key: what; remedy``.

A file that cannot be used is an error and no more: whoever reads lets its sidecar go on as it was.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hotswap.settings.kinds import FilePath
from hotswap.settings.loader import build, read_file, read_text
from hotswap.settings.problems import InvalidConfig, Problem, shown
from vm_agent.errors import SpecError
from vm_agent.spec.checks import check_keys, check_settings
from vm_agent.spec.keys import FORM, LIMITS
from vm_agent.spec.model import AgentSettings, Spec
from vm_agent.spec.settings_keys import SETTINGS_FORM

if TYPE_CHECKING:
    from hotswap.settings.reader import Part
    from hotswap.settings.sections import Section

MOST_BYTES: Final = 64 << 10
"""Of one file."""
MOST_FILES: Final = 500
"""Of a directory."""
SUFFIX: Final = ".yaml"


class Loaded(msgspec.Struct, frozen=True):
    """A usable spec, what should be looked at, and where its keys stand."""

    spec: Spec
    warnings: tuple[str, ...]
    part: Part


def load_spec(path: Path) -> Spec:
    """Read one spec. Raises `SpecError` with all problems."""
    return load_spec_with_warnings(path).spec


def load_spec_with_warnings(path: Path) -> Loaded:
    """Read one spec and keep its warnings, of the form of problems. Raises `SpecError`."""
    file = path.absolute()
    try:
        part, warnings = read_text(_text(file, "a spec"), str(file), FORM, check_keys)
    except InvalidConfig as invalid:
        raise SpecError(str(invalid)) from None
    spec: Spec = build(part, file.parent, _complete)
    if os.path.realpath(spec.config) == os.path.realpath(file):
        text = "this is the spec itself; write the path of the sidecar's own configuration"
        raise SpecError(Problem(*part.place("config"), text).at(str(file)))
    told = tuple(warning.at(str(file)) for warning in warnings)
    return Loaded(msgspec.structs.replace(spec, file=str(file)), told, part)


def load_settings(path: Path) -> AgentSettings:
    """Read the agent's settings. Raises `SpecError` with all problems; a file that is not there is one."""
    file = path.absolute()
    try:
        part, _ = read_text(_text(file, "a file of settings"), str(file), SETTINGS_FORM, check_settings)
    except InvalidConfig as invalid:
        raise SpecError(str(invalid)) from None
    settings: AgentSettings = build(part, file.parent, _complete)
    return settings


def load_specs(directory: Path) -> tuple[dict[str, Spec], dict[str, SpecError]]:
    """Read every spec in a directory: the good ones by their names, what is wrong with the others by their files.

    Raises `SpecError` if the directory cannot be read: nothing is known of any spec then, and nothing has to end. In
    a directory that is there and empty, nothing is wanted.
    """
    loaded: list[Loaded] = []
    errors: dict[str, SpecError] = {}
    for file in _files(directory.absolute()):
        printable = os.fsencode(file).decode(errors="backslashreplace")
        if printable != str(file):
            errors[printable] = SpecError(f"{printable}: its name is no UTF-8, and cannot be told; rename it")
            continue
        try:
            loaded.append(load_spec_with_warnings(file))
        except SpecError as error:
            errors[str(file)] = error
    for config in {os.path.realpath(one.spec.config) for one in loaded}:
        for broken in [broken for broken in errors if os.path.realpath(broken) == config]:
            del errors[broken]
    names: dict[str, list[Loaded]] = {}
    for one in loaded:
        names.setdefault(one.spec.name, []).append(one)
    for same in names.values():
        if len(same) > 1:
            errors.update((one.spec.file, _repeated(one, same)) for one in same)
    return {name: one.spec for name, (one, *others) in names.items() if not others}, errors


def _files(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(one.name for one in entries if one.name.endswith(SUFFIX) and not one.name.startswith("."))
        everybody = bool(directory.stat().st_mode & stat.S_IWOTH)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecError(f"{directory}: cannot be read: {reason}; make the directory, or set specs") from None
    if everybody:
        raise SpecError(f"{directory}: everybody may write into it, and what runs is said here; chmod o-w")
    if len(names) > MOST_FILES:
        raise SpecError(f"{directory}: holds {len(names)} specs; {MOST_FILES} at most, give the others another agent")
    return [directory / name for name in names]


def _repeated(one: Loaded, same: list[Loaded]) -> SpecError:
    others = ", ".join(Path(other.spec.file).name for other in same if other is not one)
    line, key = one.part.place("name")
    text = f"{shown(one.spec.name)} is the name in {others} as well; give each sidecar a name of its own"
    return SpecError(Problem(line, key, text).at(one.spec.file))


def _text(file: Path, what: str) -> str:
    """The text of a file that only root and this user can have written. Raises `InvalidConfig`."""
    try:
        state = file.stat()
    except OSError:
        state = None  # reading says why
    problem = ""
    if state is not None and not stat.S_ISREG(state.st_mode):
        problem = f"is no regular file; put {what} here, or remove it"
    elif state is not None and state.st_uid not in (0, os.geteuid()):
        problem = f"belongs to user {state.st_uid}, who could have anything run by it; chown it to root"
    elif state is not None and state.st_mode & stat.S_IWOTH:
        problem = "everybody may write it, and have anything run by it; chmod o-w"
    if problem:
        raise InvalidConfig(str(file), [Problem(0, "", problem)])
    remedy = "make it readable for the agent, or remove it"
    if state is None and not file.is_symlink() and not os.path.lexists(file):
        remedy = "correct the path, or put the file there"
    elif state is None and file.is_symlink():
        remedy = "correct where the link leads, or remove it"
    return read_file(file, remedy=remedy, most=MOST_BYTES, what=what)


def _complete(section: Section, fields: dict[str, Any]) -> None:
    """What is written in one key and kept in another; paths without ``..``, which systemd takes in no directory."""
    for name, written in fields.items():
        if isinstance(written, str) and isinstance(section.kind(name), FilePath):
            fields[name] = os.path.normpath(written)
    if section is LIMITS and isinstance(fields.get("memory"), float):
        fields["memory_share"] = fields.pop("memory")
