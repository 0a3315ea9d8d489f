"""The table of docs/http2-conformance.md names tests that exist, and leaves out no frame and no flood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.http2 import frame

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs" / "http2-conformance.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and "`test_" in line
]
TESTS = {
    name: path.name
    for path in HERE.glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}"[:60])
def test_named_tests_exist(row: list[str]) -> None:
    assert len(row) == 4
    assert all(row)
    named = re.findall(r"`(\w+)`", row[3])
    assert named
    assert [name for name in named if name not in TESTS] == []


def test_every_frame_has_its_rows() -> None:
    names = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ]
    assert [getattr(frame, name) for name in names] == list(range(10))
    names.append("PRIORITY_UPDATE")
    about = [row[0] for row in ROWS]
    assert [name for name in names if not any(name in section.split() for section in about)] == []


def test_every_test_of_a_flood_is_named() -> None:
    floods = {name for name, path in TESTS.items() if path == "test_floods.py"}
    told = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(floods & told) >= 12
