"""How close a sidecar is to its limits, and whether the process has those of the spec.

Memory is that of its control group without files that the kernel may drop at once (``inactive_file`` of memory.stat),
as there is where the kernel looks before it kills; without a group of its own it is VmRSS of the process.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vm_agent.inspection import processes
from vm_agent.inspection.findings import Finding, size
from vm_agent.inspection.subject import Subject
from vm_agent.runners.cgroups import PREFIX, Own, memory_limit, total_memory
from vm_agent.runners.unit import unit_of

CLOSE: Final = 0.9
"""Share of the memory limit from which it is a warning."""
MANY_FILES: Final = 0.8
TOO_MANY_FILES: Final = 0.95
_UNLIMITED: Final = 1 << 60  # bytes: version 1 writes a very large number


@dataclass(frozen=True)
class Facts:
    """Of the process that serves, and its group; None where nothing is known."""

    memory: int | None = None
    """Bytes."""
    memory_limit: int | None = None
    """Enforced, bytes; None: none is, or it is not known."""
    grouped: bool = False
    """It has a control group of its own."""
    controller: bool = False
    """The kernel limits memory where it is."""
    unit: bool = False
    """It is a unit of systemd."""
    wanted_memory: int | None = None
    oom_score_adj: int | None = None
    files: int | None = None
    files_limit: int | None = None


def look(one: Subject, proc: Path = processes.PROC) -> Facts:
    """From /proc and the control groups."""
    found: dict[str, Any] = {}
    if one.spec is not None:
        found["wanted_memory"] = memory_limit(one.spec.run.limits, total_memory())
    if not one.pid:
        return Facts(**found)
    place = proc / str(one.pid)
    with contextlib.suppress(OSError, ValueError):
        found["oom_score_adj"] = int((place / "oom_score_adj").read_text())
    with contextlib.suppress(OSError, ValueError):
        found["files_limit"] = _open_files(place)
        found["files"] = sum(1 for _ in os.scandir(place / "fd"))
    with contextlib.suppress(OSError, ValueError, KeyError):
        found["memory"] = int(processes.fields(one.pid, proc)["VmRSS"].split()[0]) * 1024
    own = Own.find(place)
    group = own.directories.get("memory")
    found["controller"] = group is not None
    with contextlib.suppress(OSError):
        found["unit"] = unit_of(one.name) in re.split(r"[/\n]", (place / "cgroup").read_text())
    if group is not None and group.name in {unit_of(one.name), f"{PREFIX}{one.name}"}:
        found["grouped"] = True
        with contextlib.suppress(OSError, ValueError):
            found |= _group(group, unified="memory" in own.unified)
    return Facts(**found)


def _group(group: Path, *, unified: bool) -> dict[str, int | None]:
    """Usage and limit of a group, of either version of control groups. Raises `OSError`, `ValueError`."""
    names = ("memory.current", "memory.max", "inactive_file")
    usage, limit, cache = (
        names if unified else ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
    )
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    text = (group / limit).read_text().strip()
    bound = None if text == "max" else int(text)
    return {
        "memory": max(int((group / usage).read_text()) - int(stat.get(cache, 0)), 0),
        "memory_limit": None if bound is None or bound >= _UNLIMITED else bound,
    }


def _open_files(place: Path) -> int | None:
    for line in (place / "limits").read_text().splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return None if soft == "unlimited" else int(soft)
    return None


def judge(one: Subject, facts: Facts) -> Iterator[Finding]:
    """What is close to a limit, or has another one than the spec says."""
    if one.spec is None or not one.pid:
        return
    limits = one.spec.run.limits

    def found(severity: Any, place: str, text: str, remedy: str) -> Finding:
        return Finding(sidecar=one.name, severity=severity, what="limits", place=place, text=text, remedy=remedy)

    apply = f"change run.limits in {one.spec.file or 'the spec'}: limits take effect at once"
    bound = facts.memory_limit or facts.wanted_memory
    if facts.memory is not None and bound and facts.memory >= CLOSE * bound:
        what = "the kernel kills it at the limit" if facts.memory_limit else "nothing enforces the limit here"
        text = f"it uses {size(facts.memory)} of {size(bound)} memory ({facts.memory / bound:.0%}); {what}"
        yield found("warning", "memory", text, f"raise run.limits.memory, or take load away: {apply}")
    wanted = facts.wanted_memory
    if one.rests and wanted is not None and facts.memory_limit is None:
        why, remedy = _not_enforced(facts, one.name)
        text = f"the limit of {size(wanted)} memory is not enforced: {why}"
        yield found("notice", "memory limit", text, remedy)
    elif (
        one.rests and wanted is not None and facts.memory_limit is not None and abs(facts.memory_limit - wanted) > 65536
    ):
        text = f"its memory limit is {size(facts.memory_limit)}, the spec has {size(wanted)}"
        yield found(
            "warning", "memory limit", text, "restart the agent: it applies limits anew, and no sidecar notices"
        )
    elif one.rests and wanted is None and facts.memory_limit is not None:
        yield found(
            "warning", "memory limit", f"its memory limit is {size(facts.memory_limit)}, the spec has none", apply
        )
    score = facts.oom_score_adj
    if one.rests and score is not None and score != limits.oom_score_adj:
        text = f"its oom_score_adj is {score}, the spec has {limits.oom_score_adj}: others may be killed first"
        remedy = f"echo {limits.oom_score_adj} > /proc/{one.pid}/oom_score_adj, as root"
        yield found("warning", "oom_score_adj", text, remedy)
    yield from _files(one, facts, found, apply)


def _not_enforced(facts: Facts, name: str) -> tuple[str, str]:
    """Why, and what to do about it."""
    if not facts.controller:
        kernel = "have the kernel offer it to control groups: /proc/cgroups, cgroup.controllers of cgroups(7)"
        return "the memory controller of control groups is missing here", f"{kernel}, or set no limit"
    if facts.unit:
        return "systemd enforces none", f"see why: systemctl show -p MemoryMax -p MemoryAccounting {unit_of(name)}"
    if facts.grouped:
        return "its control group has none", "restart the agent: it applies limits anew, and no sidecar notices"
    return "it has no control group of its own", "run the agent under systemd, or where it may make control groups"


def _files(one: Subject, facts: Facts, found: Any, apply: str) -> Iterator[Finding]:
    most, wanted = facts.files_limit, one.spec.run.limits.open_files if one.spec is not None else None
    if facts.files is not None and most and facts.files >= MANY_FILES * most:
        severity = "error" if facts.files >= TOO_MANY_FILES * most else "warning"
        text = f"{facts.files} of {most} files are open; a proxied connection takes two"
        yield found(severity, "open_files", text, f"raise run.limits.open_files: {apply}")
    elif one.rests and wanted is not None and most is not None and most != wanted:
        text = f"it may open {most} files, the spec has {wanted}"
        yield found("notice", "open_files", text, "with the next start: a process above its hard limit needs root")
