from __future__ import annotations

from typing import Any

import pytest

from tests.vm_agent.inspection.subjects import brief, sound
from vm_agent.errors import SpecError
from vm_agent.inspection.lives import broken, judge
from vm_agent.lifecycle.memory import Condemned
from vm_agent.lifecycle.states import State

BAD = Condemned("1.1.0", "digest", "error_rate 7.31%")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"paused": True}, [("notice", "paused", "")]),
        ({"waits": "its window opens at 02:00"}, [("notice", "waits", "")]),
        ({"waits": "it is paused", "paused": True}, [("notice", "paused", "")]),
        ({"state": State.WAITING, "waits": "no such release"}, [("error", "waits", "")]),
        ({"serving": "1.0.0", "current": "1.0.0", "condemned": BAD}, [("warning", "condemned", "1.1.0")]),
        ({"serving": "1.0.0", "condemned": BAD, "waits": "it failed"}, [("warning", "condemned", "1.1.0")]),
        ({"condemned": BAD, "current": "1.0.0"}, [("error", "cannot_take_back", "")]),
        ({"condemned": Condemned("0.9.0", "digest", "bad")}, []),
        ({"silence": "it hangs", "told": None}, [("error", "no_answer", "")]),
        ({"silence": "it hangs", "told": None, "state": State.STARTING}, []),
        ({"silence": "nothing runs", "told": None, "state": State.ABSENT, "spec": None}, []),
    ],
)
def test_what_the_agent_knows_of_a_sidecar(changes: dict[str, Any], found: list[tuple[str, str, str]]) -> None:
    assert brief(judge(sound(**changes))) == found


def test_a_broken_spec_is_told_with_its_file_and_what_is_wrong() -> None:
    (found,) = broken({"/etc/hotswap/sidecars/edge.yaml": SpecError("edge.yaml:3: release: missing")})
    assert (found.severity, found.what, found.place) == ("error", "broken_spec", "/etc/hotswap/sidecars/edge.yaml")
    assert "edge.yaml:3: release: missing" in found.text
