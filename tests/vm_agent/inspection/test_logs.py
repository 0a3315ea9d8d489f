from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.vm_agent.inspection.subjects import brief, sound, told
from vm_agent.inspection.logs import LARGE, Log, judge, later, look, look_at_machine

FILE = "/var/log/edge.log"
MB = 1 << 20


def written(**changes: Any) -> Log:
    keys: dict[str, Any] = {"path": FILE, "bytes": 10 * MB, "free": 10_000 * MB, "at": 1000.0}
    return Log(**{**keys, **changes})


@pytest.mark.parametrize(
    ("log", "past", "severity"),
    [
        (written(), None, None),
        (written(bytes=LARGE), None, "warning"),
        (written(bytes=LARGE, limit=LARGE + 1), None, None),
        # 9 MB in 100 s are 7.8 GB a day.
        (written(), written(bytes=1 * MB, at=900.0), None),
        (written(free=5_000 * MB), written(bytes=1 * MB, at=900.0), "warning"),
        (written(free=600 * MB), written(bytes=1 * MB, at=900.0), "error"),
        (written(free=600 * MB), written(bytes=1 * MB, at=990.0), None),  # too soon to say
        (written(free=0), written(bytes=10 * MB - 1000, at=900.0), None),  # hardly grows
        (written(bytes=1 * MB), written(bytes=10 * MB, at=900.0), None),  # rotated
        (written(free=600 * MB, steps=9 * MB), written(bytes=1 * MB, at=900.0), None),  # a release was installed
        (written(free=600 * MB), written(bytes=11 * MB, steps=10 * MB, at=900.0), "error"),  # one was removed
        (written(dropped=5), written(at=900.0), "warning"),
        (written(dropped=5), written(at=900.0, dropped=5), None),
        (written(dropped=2), written(at=900.0, dropped=5), None),  # another generation
        (written(dropped=5), None, None),
        (written(gone=True, bytes=0), None, "warning"),
    ],
)
def test_a_log_is_told_by_its_size_its_growth_and_its_losses(log: Log, past: Log | None, severity: str | None) -> None:
    found = brief(judge("edge", [log], {} if past is None else {FILE: past}))
    assert found == ([] if severity is None else [(severity, "log_volume", FILE)])


def test_growth_is_measured_from_the_last_look_that_was_long_enough_ago() -> None:
    first, second, third = written(at=0.0), written(at=10.0, bytes=20 * MB), written(at=40.0, bytes=40 * MB)
    before = later({}, [first])
    assert before == {FILE: first}
    before = later(before, [second])
    assert before == {FILE: first}
    assert later(before, [third]) == {FILE: third}


def test_access_logs_are_those_that_the_proxy_names(tmp_path: Path) -> None:
    (tmp_path / "edge.log").write_bytes(bytes(5000))
    server = {
        "access_logs": [
            {"to": str(tmp_path / "edge.log"), "waiting": 0, "dropped": 3},
            {"to": "journald", "waiting": 0, "dropped": 1},
            {"to": str(tmp_path / "gone.log"), "waiting": 0, "dropped": 0},
        ]
    }
    file, journal, gone = look(sound(told=told(server=server, pid=os.getpid())), 1000.0)
    assert (file.bytes, file.dropped, file.gone) == (5000, 3, False)
    assert (journal.path, journal.bytes, journal.dropped) == ("journald", 0, 1)
    assert gone.gone
    assert look(sound(told=None), 1000.0) == []


def test_of_a_process_that_may_not_be_looked_at_no_file_is_called_gone(tmp_path: Path) -> None:
    server = {"access_logs": [{"to": str(tmp_path / "gone.log"), "waiting": 0, "dropped": 0}]}
    (gone,) = look(sound(told=told(server=server)), 1000.0, tmp_path)
    assert not gone.gone


def test_the_state_counts_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "state" / "releases").mkdir(parents=True)
    (tmp_path / "state" / "releases" / "file").write_bytes(os.urandom(100_000))
    log = tmp_path / "edge.log"
    log.write_bytes(bytes(10))
    found = {one.path: one for one in look_at_machine(tmp_path / "state", [log, tmp_path / "none"], 1000.0)}
    assert found[str(tmp_path / "state")].bytes >= found[str(tmp_path / "state")].steps >= 100_000
    assert found[str(log)].bytes == 10
    assert str(tmp_path / "none") not in found
