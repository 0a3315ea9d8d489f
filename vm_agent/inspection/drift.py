"""Whether spec, disk and process agree: which release, which configuration, started as whom and with what."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vm_agent.inspection import processes
from vm_agent.inspection.findings import Finding
from vm_agent.inspection.subject import Subject
from vm_agent.spec.lists import CAPABILITIES

if TYPE_CHECKING:
    from vm_agent.lifecycle.desk import Desk

_DEFAULT_PROGRAM: Final = "bin/hotswap"
_CONFIG_LIMIT: Final = 1 << 20  # bytes that the agent looks at for a change
_SETTLED: Final = 30.0
"""Seconds after which a change should have been taken."""


@dataclass(frozen=True)
class Facts:
    """Of one sidecar; None where nothing is known."""

    installed: bool = True
    """The release that a crash would start is there."""
    named: bool = False
    """The release was built: its version is that of the program, and not a name that somebody gave a directory."""
    replaced: str = ""
    """The interpreter or program that it runs and that is not on the disk any more."""
    digest: str = ""
    """Of the configuration on the disk; empty: it cannot be read."""
    changed: float = 0.0
    """When that was written, seconds since the epoch."""
    unreadable: str = ""
    user: str | None = None
    """Of the process."""
    wanted_user: str = ""
    command: tuple[str, ...] | None = None
    wanted_command: tuple[str, ...] = ()
    """Without the program, which is another one in each release."""
    program: str = ""
    """That of the release that serves."""
    environment: frozenset[str] | None = None
    """``NAME=VALUE``, as it was started with."""
    bounds: int | None = None
    """Capabilities that it may come to have, as a set of bits."""
    wanted_bounds: int = -1


def look(one: Subject, desk: Desk) -> Facts:
    """From the disk and /proc."""
    if one.spec is None:
        return Facts()
    found: dict[str, Any] = {"wanted_command": desk.launch(one.spec).command[1:]}
    if one.serving:
        found["program"] = str(desk.releases.directory / one.serving / one.spec.command[0])
    found["installed"] = not one.current or desk.releases.get(one.current) is not None
    release = desk.releases.get(one.serving) if one.serving else None
    found["named"] = release is not None and release.kind != "directory" and one.spec.command[0] == _DEFAULT_PROGRAM
    found["wanted_user"] = one.spec.run.user or _user(os.geteuid())
    if os.geteuid() == 0:
        found["wanted_bounds"] = sum(1 << CAPABILITIES.index(name) for name in set(one.spec.run.capabilities))
    try:
        with Path(one.spec.config).open("rb") as stream:
            found["digest"] = hashlib.sha256(stream.read(_CONFIG_LIMIT)).hexdigest()
            found["changed"] = os.fstat(stream.fileno()).st_mtime
    except OSError as error:
        found["unreadable"] = error.strerror or str(error)
    return Facts(**found, **(_process(one.pid) if one.pid else {}))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # in a container, say
        return f"uid {uid}"


def _process(pid: int, proc: Path = processes.PROC) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        fields = processes.fields(pid, proc)
        found["bounds"] = int(fields["CapBnd"], 16)
        found["user"] = _user(int(fields["Uid"].split()[1]))
    with contextlib.suppress(OSError):
        found["command"] = processes.command(proc / str(pid))
    with contextlib.suppress(OSError):
        target = str((proc / str(pid) / "exe").readlink())
        found["replaced"] = target.removesuffix(" (deleted)") if target.endswith(" (deleted)") else ""
    with contextlib.suppress(OSError):
        raw = (proc / str(pid) / "environ").read_bytes().split(b"\0")
        found["environment"] = frozenset(word.decode(errors="replace") for word in raw) - {""} or None
    return found


def judge(one: Subject, facts: Facts, now: float) -> Iterator[Finding]:
    """What does not agree. `now`: seconds since the epoch."""
    if one.spec is None or not one.rests:
        return
    yield from _releases(one, facts)
    yield from _config(one, facts, now)
    yield from _launch(one, facts)


def _releases(one: Subject, facts: Facts) -> Iterator[Finding]:
    def drift(severity: Any, place: str, text: str, remedy: str) -> Finding:
        return Finding(sidecar=one.name, severity=severity, what="version_drift", place=place, text=text, remedy=remedy)

    spec, upgrade = one.spec, f"hotswap-agent upgrade {one.name}"
    assert spec is not None  # noqa: S101  for mypy
    if one.told is not None and spec.release != one.serving:
        known = one.paused or one.waits or (one.condemned is not None and one.condemned.release == spec.release)
        serves = f"release {one.serving}" if one.serving else "a program that the agent did not install"
        why = f" ({one.waits})" if one.waits else " (paused)" if one.paused else ""
        text = f"the spec wants release {spec.release}, and {serves} serves{why}"
        yield drift("notice" if known else "warning", "process", text, upgrade)
    condemned = one.condemned is not None and one.condemned.release == one.serving  # told as cannot_take_back
    if one.serving and one.current != one.serving and not condemned:
        text = f"release {one.serving} serves, and a crash would start {one.current or 'none'}"
        yield drift("error", "disk", text, f"{upgrade}: what serves after it is what a crash starts")
    told = one.told
    if told is not None and facts.named and told.version and told.version != one.serving:
        text = f"release {one.serving} serves by its directory, and the process says that it is {told.version}"
        yield drift(
            "warning", "version", text, f"build the release with its own version, install it under it, {upgrade}"
        )
    if facts.replaced:
        text = f"the process runs {facts.replaced}, which was replaced or removed on the disk"
        yield drift(
            "notice", facts.replaced, text, f"hotswap upgrade {one.name}: the same release, on what is there now"
        )


def _config(one: Subject, facts: Facts, now: float) -> Iterator[Finding]:
    def drift(place: str, text: str, remedy: str) -> Finding:
        return Finding(sidecar=one.name, severity="warning", what="config_drift", place=place, text=text, remedy=remedy)

    file = one.spec.config if one.spec is not None else ""
    reload = one.told.last_reload if one.told is not None else None
    if facts.unreadable:
        yield drift(
            file, f"{file} cannot be read: {facts.unreadable}; a crash could not start with it", f"restore {file}"
        )
    elif isinstance(reload, dict) and reload.get("ok") is False:
        text = f"{file} was refused, serving as before: {reload.get('message') or 'see its log'}"
        yield drift(
            file, text, f"correct {file}; it is taken as soon as it changes. hotswap check -c {file} tells the same"
        )
    elif one.config and facts.digest and facts.digest != one.config and now - facts.changed > _SETTLED:
        why = (
            "paused" if one.paused else "the release that the spec wants comes first" if _outdated(one) else "not taken"
        )
        yield drift(file, f"{file} was changed, and is not what serves ({why})", f"hotswap reload {one.name}")


def _outdated(one: Subject) -> bool:
    return one.spec is not None and one.spec.release != one.serving


def _launch(one: Subject, facts: Facts) -> Iterator[Finding]:
    def drift(place: str, text: str, remedy: str) -> Finding:
        return Finding(sidecar=one.name, severity="warning", what="launch_drift", place=place, text=text, remedy=remedy)

    anew = "no handover changes that: move its spec out of the directory, 'hotswap-agent apply', and put it back"
    wanted, spec = facts.wanted_command, one.spec
    if facts.command and wanted and facts.command[-len(wanted) :] != wanted:
        text = f"it was started by {' '.join(facts.command[-len(wanted) :])!r}, the spec has {' '.join(wanted)!r}"
        by_hand = f"hotswap upgrade {one.name} -- {facts.program or 'PROGRAM'} {' '.join(wanted)}"
        missing_file = (
            f"put {spec.config} there, or correct it in {spec.file or 'the spec'}" if spec is not None else ""
        )
        yield drift("command", text, missing_file if facts.unreadable else f"{by_hand}, or with the next release")
    if facts.user is not None and facts.wanted_user and facts.user != facts.wanted_user:
        yield drift("user", f"it runs as {facts.user}, the spec has {facts.wanted_user}", anew)
    missing = [] if spec is None else [f"{name}={value}" for name, value in spec.run.environment]
    missing = [word for word in missing if facts.environment is not None and word not in facts.environment]
    if missing:
        names = ", ".join(word.partition("=")[0] for word in missing)  # values may be secrets
        yield drift("environment", f"it was started with other values, or none, for {names}", anew)
    if facts.bounds is not None and facts.wanted_bounds >= 0 and facts.bounds & ~facts.wanted_bounds:
        more = facts.bounds & ~facts.wanted_bounds
        text = f"it may come to have {more.bit_count()} capabilities that the spec does not list"
        yield drift("capabilities", text, anew)
