from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vm_agent.history import FILE, History


def test_decisions_are_kept_in_order_with_their_reasons(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.note("edge", "upgrading", "the spec wants 2", before="1", after="2")
    history.note("core", "started")
    history.note("edge", "taken back", "error_rate 7%")
    again = History(tmp_path)
    assert [entry.what for entry in again.entries()] == ["upgrading", "started", "taken back"]
    edge = again.entries("edge")
    assert [(entry.what, entry.text) for entry in edge] == [
        ("upgrading", "the spec wants 2"),
        ("taken back", "error_rate 7%"),
    ]
    assert edge[0].facts == {"before": "1", "after": "2"}
    assert [entry.what for entry in again.entries(limit=1)] == ["taken back"]


def test_what_does_not_change_is_said_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    for text in ("a", "a", "b", "b", "a"):
        history.note_once("edge", "waits", text)
    assert [entry.text for entry in history.entries()] == ["a", "b", "a"]


def test_a_line_that_is_none_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.note("edge", "started")
    with (tmp_path / FILE).open("a") as stream:
        stream.write("{half a li\n")
    history.note("edge", "stopped")
    assert [entry.what for entry in history.entries()] == ["started", "stopped"]


def test_a_full_file_is_put_aside_and_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vm_agent.history._LIMIT", 200)
    history = History(tmp_path)
    for number in range(6):
        history.note("edge", "started", f"{number} {'x' * 60}")
    assert (tmp_path / f"{FILE}.1").exists()
    assert [entry.text[0] for entry in history.entries()][-3:] == ["3", "4", "5"]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_a_disk_that_takes_nothing_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = History(tmp_path / "missing")
    history.note("edge", "started")
    assert history.entries() == []
    assert "the history cannot be written" in caplog.text


def test_what_needs_somebody_is_a_warning_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vm_agent")
    history = History(tmp_path)
    history.note("", "agent began", "looks after 1 sidecar")
    history.note("edge", "broken spec", "edge.yaml:3: release: is missing")
    history.note("edge", "found", "nobody listens there", severity="error")
    history.note("edge", "found", "it is large", severity="notice")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "began: looks after 1 sidecar"),
        ("WARNING", "edge: broken spec: edge.yaml:3: release: is missing"),
        ("WARNING", "edge: found: nobody listens there"),
        ("INFO", "edge: found: it is large"),
    ]
