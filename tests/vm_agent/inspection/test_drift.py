from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vm_agent.inspection.subjects import NOW, brief, sound, spec, told
from vm_agent.inspection import drift
from vm_agent.inspection.drift import Facts, judge
from vm_agent.lifecycle.memory import Condemned
from vm_agent.lifecycle.states import State
from vm_agent.spec.model import Run

OUTDATED = {"serving": "1.0.0", "current": "1.0.0", "told": told(version="1.0.0")}
CONFIG = "/etc/hotswap/edge.yaml"
BAD = Condemned("1.1.0", "digest", "bad")


@pytest.mark.parametrize(
    ("changes", "facts", "found"),
    [
        ({}, {}, []),
        (OUTDATED, {}, [("warning", "version_drift", "process")]),
        ({**OUTDATED, "paused": True}, {}, [("notice", "version_drift", "process")]),
        ({**OUTDATED, "waits": "its window"}, {}, [("notice", "version_drift", "process")]),
        ({**OUTDATED, "condemned": BAD}, {}, [("notice", "version_drift", "process")]),
        ({**OUTDATED, "busy": True}, {}, []),
        ({**OUTDATED, "state": State.BAKING}, {}, []),
        ({"serving": "", "current": None}, {}, [("warning", "version_drift", "process")]),
        ({"current": "1.0.0"}, {}, [("error", "version_drift", "disk")]),
        ({"current": None}, {}, [("error", "version_drift", "disk")]),
        ({"current": "1.0.0", "condemned": BAD}, {}, []),  # told as cannot_take_back
        ({"told": told(version="1.0.7")}, {"named": True}, [("warning", "version_drift", "version")]),
        ({"told": told(version="1.0.7")}, {"named": False}, []),
        ({"told": None}, {"named": True}, []),
        ({}, {"replaced": "/usr/bin/python3.11"}, [("notice", "version_drift", "/usr/bin/python3.11")]),
        #
        ({"config": "a"}, {"digest": "a", "changed": NOW - 100}, []),
        ({"config": "a"}, {"digest": "b", "changed": NOW - 100}, [("warning", "config_drift", CONFIG)]),
        ({"config": "a"}, {"digest": "b", "changed": NOW - 5}, []),  # it is about to be taken
        ({"config": ""}, {"digest": "b", "changed": NOW - 100}, []),
        ({"told": told(last_reload={"ok": False, "message": "line 3"})}, {}, [("warning", "config_drift", CONFIG)]),
        ({"told": told(last_reload={"ok": True})}, {}, []),
        ({"told": told(last_reload="nonsense")}, {}, []),
        ({}, {"unreadable": "No such file or directory"}, [("warning", "config_drift", CONFIG)]),
        #
        ({}, {"user": "root", "wanted_user": "hotswap"}, [("warning", "launch_drift", "user")]),
        ({}, {"user": "hotswap", "wanted_user": "hotswap"}, []),
        ({}, {"user": None, "wanted_user": "hotswap"}, []),
        ({}, {"command": ("python", "hotswap", "run", "-c", "x"), "wanted_command": ("run", "-c", "x")}, []),
        (
            {},
            {"command": ("python", "hotswap", "run", "-c", "x"), "wanted_command": ("run", "-c", "y")},
            [("warning", "launch_drift", "command")],
        ),
        ({}, {"command": None, "wanted_command": ("run", "-c", "y")}, []),
        ({}, {"command": ("program",), "wanted_command": ()}, []),
        ({}, {"bounds": 0b110, "wanted_bounds": 0b100}, [("warning", "launch_drift", "capabilities")]),
        ({}, {"bounds": 0b100, "wanted_bounds": 0b110}, []),
        ({}, {"bounds": 0b110, "wanted_bounds": -1}, []),
        ({"spec": None}, {"user": "root", "wanted_user": "hotswap"}, []),
    ],
)
def test_spec_disk_and_process_are_compared(
    changes: dict[str, Any], facts: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert brief(judge(sound(**changes), Facts(**facts), NOW)) == found


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"program": "/r/bin/hotswap"}, "hotswap upgrade edge -- /r/bin/hotswap run -c y, or with the next release"),
        ({"unreadable": "No such file"}, f"put {CONFIG} there, or correct it in /etc/hotswap/sidecars/edge.yaml"),
    ],
)
def test_another_command_has_a_remedy_that_can_work(facts: dict[str, Any], remedy: str) -> None:
    seen = Facts(command=("hotswap", "run", "-c", "x"), wanted_command=("run", "-c", "y"), **facts)
    assert [one.remedy for one in judge(sound(), seen, NOW) if one.what == "launch_drift"] == [remedy]


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        (frozenset({"TZ=UTC", "SECRET=hunter2", "PATH=/bin"}), []),
        (frozenset({"TZ=UTC", "SECRET=other"}), [("warning", "launch_drift", "environment")]),
        (None, []),
    ],
)
def test_a_changed_environment_is_told_by_name_and_never_by_value(
    environment: frozenset[str] | None, found: list[tuple[str, str, str]]
) -> None:
    subject = sound(spec=spec(run=Run(environment=(("SECRET", "hunter2"), ("TZ", "UTC")))))
    told_of = list(judge(subject, Facts(environment=environment), NOW))
    assert brief(told_of) == found
    assert "hunter2" not in str(told_of)
    assert "other" not in "".join(one.text.replace("other values", "") for one in told_of)


def test_a_process_is_seen_as_it_was_started() -> None:
    seen = drift._process(os.getpid())
    assert seen["command"][-len(sys.argv[1:]) :] == tuple(sys.argv[1:]) or len(sys.argv) == 1
    assert seen["replaced"] == ""
    assert seen["bounds"] >= 0
    assert f"PATH={os.environ['PATH']}" in seen["environment"]


def test_of_a_process_that_ended_nothing_is_known(tmp_path: Path) -> None:
    assert drift._process(1, tmp_path) == {}
