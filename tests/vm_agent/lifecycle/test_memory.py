from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vm_agent.lifecycle.judge import Baseline, begin
from vm_agent.lifecycle.memory import Condemned, Memory, Operation
from vm_agent.lifecycle.states import State
from vm_agent.lifecycle.vitals import Vitals
from vm_agent.spec.model import Spec, UpgradePolicy

FULL = Memory(
    state=State.BAKING,
    operation=Operation(
        before="1",
        after="2",
        why="the spec wants 2",
        began=1e9,
        restarts=3,
        bake=begin(UpgradePolicy(), Baseline((Vitals(at=1.0), Vitals(requests=9, at=2.0))), Vitals(at=3.0), 4.0),
    ),
    spec=Spec(name="edge", release="2", config="/etc/edge.yaml"),
    condemned=Condemned("0", "abc", "crashes 1"),
    previous="1",
    paused=True,
    config="f00",
)


@pytest.mark.parametrize("memory", [Memory(), FULL])
def test_what_is_saved_is_loaded(memory: Memory, tmp_path: Path) -> None:
    memory.save(tmp_path / "edge")
    assert Memory.load(tmp_path / "edge") == memory


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    FULL.save(tmp_path)
    assert stat.S_IMODE((tmp_path / "memory.json").stat().st_mode) == 0o600


def test_nothing_was_remembered(tmp_path: Path) -> None:
    assert Memory.load(tmp_path / "edge") == Memory()


@pytest.mark.parametrize("text", ["", "{", '{"state": "elsewhere"}', "[]"])
def test_what_cannot_be_read_is_set_aside(text: str, tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text(text)
    assert Memory.load(tmp_path) == Memory()
    assert (tmp_path / "memory.unreadable").read_text() == text


def test_a_half_written_one_does_not_count(tmp_path: Path) -> None:
    FULL.save(tmp_path)
    (tmp_path / ".memory.json.new").write_text("{")
    assert Memory.load(tmp_path) == FULL


def test_a_sidecar_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    FULL.save(tmp_path)
    Memory.forget(tmp_path)
    assert [*tmp_path.iterdir()] == []
