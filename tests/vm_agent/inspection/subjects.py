"""Subjects of a patrol, as they are when nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vm_agent.inspection.findings import Finding
from vm_agent.inspection.subject import Listening, Past, Subject, Told
from vm_agent.runners.base import Running
from vm_agent.spec.model import Limits, Run, Spec

PID = 400
NOW = 1_700_000_000.0
ADDRESS = "127.0.0.1:8080"


def spec(**changes: Any) -> Spec:
    keys = {
        "name": "edge",
        "release": "1.1.0",
        "config": "/etc/hotswap/edge.yaml",
        "file": "/etc/hotswap/sidecars/edge.yaml",
    }
    return Spec(**{**keys, **changes})


def limited(**limits: Any) -> Spec:
    return spec(run=Run(limits=Limits(**limits)))


def told(**changes: Any) -> Told:
    listeners = (Listening(name="web", address=ADDRESS),)
    keys = {"pid": PID, "generation": 2, "version": "1.1.0", "state": "serving", "listeners": listeners}
    return Told(**{**keys, **changes})


def sound(**changes: Any) -> Subject:
    keys: dict[str, Any] = {
        "name": "edge",
        "spec": spec(),
        "serving": "1.1.0",
        "current": "1.1.0",
        "running": Running(pid=PID, ready=True, restarts=0, held=(ADDRESS,), kept=1),
        "told": told(),
        "history": (
            Past(generation=1, pid=300, began=NOW - 7200, outcome="superseded by generation 2"),
            Past(generation=2, pid=PID, began=NOW - 3600, outcome="serving"),
        ),
    }
    return Subject(**{**keys, **changes})


def brief(found: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Severity, word and place of each."""
    there = list(found)
    assert all(one.text and one.remedy for one in there)
    return [(one.severity, one.what, one.place) for one in there]
