from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from shm_metrics import names
from shm_metrics.names import Found
from tests.vm_agent.inspection.subjects import NOW, brief
from vm_agent.inspection.segments import judge, look

FILE = "shm_metrics.hotswap-edge-0123456789.1"


def segment(**changes: Any) -> Found:
    keys: dict[str, Any] = {"name": FILE, "size": 4096, "users": 0, "refused": "", "touched": NOW - 3600}
    return Found(**{**keys, **changes})


@pytest.mark.parametrize(
    ("one", "cared_for", "count"),
    [
        (segment(), set(), 1),
        (segment(users=1), set(), 0),
        (segment(touched=NOW - 10), set(), 0),  # about to come back
        (segment(), {"hotswap-edge-0123456789"}, 0),  # counters go on after a crash
        (segment(), {"hotswap-edge"}, 1),
        (segment(refused="a newer format"), {"hotswap-edge-0123456789"}, 1),
    ],
)
def test_segments_that_nobody_will_count_in(one: Found, cared_for: set[str], count: int) -> None:
    assert brief(judge([one], cared_for, NOW)) == [("notice", "stale_segment", f"/dev/shm/{FILE}")] * count


def test_a_real_segment_that_was_left_behind_is_found() -> None:
    name = f"hotswap-test-{uuid.uuid4().hex[:8]}"
    opened = names.open_by_name(name)
    path = names.FOLDER / opened.name
    try:
        opened.segment.locks.close()
        found = [one for one in look() if one.name == opened.name]
        assert len(brief(judge(found, (), time.time() + 3600))) == 1
        assert brief(judge(found, (), time.time())) == []
    finally:
        path.unlink(missing_ok=True)
