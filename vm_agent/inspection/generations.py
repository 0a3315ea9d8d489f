"""Generations that should be gone: those that drain for longer than they may, and those that never came to serve.

A process is a generation of a sidecar if it has its lock open (the lock travels in a handover, and every generation has
a copy until it ends), or if its command line is the sidecar's: a program of a release, or of the link, with the
arguments of the spec.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from vm_agent.inspection.findings import Finding, span
from vm_agent.inspection.processes import Process
from vm_agent.inspection.subject import Past, Subject
from vm_agent.spec.model import Spec

DRAIN: Final = 600.0
"""Seconds that a generation may take to end if its configuration says nothing: `upgrade.drain_timeout`."""
GRACE: Final = 30.0
"""Seconds that it may take longer."""
_CONFIG_LIMIT: Final = 1 << 20  # bytes
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def of(
    everybody: Iterable[Process], holding: Collection[int], arguments: tuple[str, ...], places: tuple[Path, ...]
) -> list[Process]:
    """The generations of a sidecar. `arguments`: of its command; `places`: directories its programs are in."""
    return [one for one in everybody if one.pid in holding or _named(one.command, arguments, places)]


def _named(command: tuple[str, ...], arguments: tuple[str, ...], places: tuple[Path, ...]) -> bool:
    count = len(arguments)
    if count and command[-count:] != arguments:
        return False
    programs = command[: len(command) - count]
    if "--" in programs:  # of whatever is about to become it
        return False
    return any(word.startswith(f"{place}/") for word in programs for place in places)


def drain_of(config: str) -> float:
    """Seconds that a generation with this configuration file may take to end; `DRAIN` if that is not found out."""
    try:
        with Path(config).open("rb") as stream:
            found: Any = yaml.safe_load(stream.read(_CONFIG_LIMIT))
        text = str(found["upgrade"]["drain_timeout"])
        digits = text.rstrip("".join(_UNITS))
        return float(digits) * _UNITS[text[len(digits) :]]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, RecursionError):
        return DRAIN


def judge(one: Subject, generations: Iterable[Process], drain: float, now: float) -> Iterator[Finding]:
    """Of one sidecar. `drain`: seconds that a generation may take to end; `now`: seconds since the epoch."""
    for process in generations:
        if process.pid == one.pid:
            continue
        past = _record(one.history, process)
        successor = _successor(one.history, past)
        if past is not None and successor is not None:
            since = now - successor.began
            if since > drain + GRACE:
                yield _left(
                    one,
                    process,
                    f"generation {past.generation} gave everything to generation {successor.generation} {span(since)} "
                    f"ago and still runs; it may take {span(drain)} (`upgrade.drain_timeout`)",
                )
        elif one.rests and now - process.began > _patience(one.spec):
            yield _left(one, process, f"a generation was started {span(now - process.began)} ago and does not serve")
        elif not one.pid and not one.busy and now - process.began > _patience(one.spec):
            yield _left(one, process, "a generation runs, and nobody serves", error=True)


def _left(one: Subject, process: Process, text: str, *, error: bool = False) -> Finding:
    stopped = " (it is stopped, SIGSTOP or a debugger)" if process.state in "Tt" else ""
    return Finding(
        sidecar=one.name,
        severity="error" if error else "warning",
        what="leftover_generation",
        place=f"process {process.pid}",
        text=f"process {process.pid}: {text}{stopped}",
        remedy=f"kill {process.pid}, then kill -KILL {process.pid} if it does not end; its connections do",
    )


def _patience(spec: Spec | None) -> float:
    """To be ready, or to take part in a handover."""
    return GRACE + (0.0 if spec is None else max(spec.run.start_timeout, spec.upgrade.timeout))


def _record(history: tuple[Past, ...], process: Process) -> Past | None:
    """Its record, if it ever owned. One that is older than the process is of another with the same number."""
    mine = [past for past in history if past.pid == process.pid and not past.failed and past.began >= process.began - 2]
    return mine[-1] if mine else None


def _successor(history: tuple[Past, ...], past: Past | None) -> Past | None:
    owners = [one for one in history if not one.failed]
    later = [one for one in owners if past is not None and one.generation > past.generation]
    return later[0] if later else None
