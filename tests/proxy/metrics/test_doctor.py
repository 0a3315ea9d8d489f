"""Segments that nobody counts in are found, and removed when told to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap.cli.checks import Finding
from proxy.metrics import doctor
from shm_metrics import Registry, cells, names
from tests.hotswap.cli.server import FakeServer


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    """Of a segment that nobody else uses."""
    name = f"test-doctor-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    for found in names.found():
        if name in found.name:
            (names.FOLDER / found.name).unlink(missing_ok=True)


def abandoned(name: str, age: float) -> Path:
    """The segment of a process that counted in it and was killed."""
    child = os.fork()
    if not child:
        Registry.open(name).counter("a_total", "a").inc()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    (file,) = (names.FOLDER / one.name for one in names.found() if name in one.name)
    then = time.time() - age
    os.utime(file, (then, then))
    return file


def about(findings: Iterator[Finding], name: str) -> list[Finding]:
    return [one for one in findings if name in one.message]


def test_a_segment_in_use_is_nobodys_business(name: str) -> None:
    registry = Registry.open(name)
    os.utime(names.FOLDER / f"{names.PREFIX}{name}.1", (0, 0))
    assert about(doctor.metrics(), name) == []
    assert about(doctor.remove_unused(), name) == []
    registry.counter("a_total", "a").inc()
    assert (names.FOLDER / f"{names.PREFIX}{name}.1").exists()


def test_one_that_is_not_is_told_and_removed(name: str) -> None:
    file = abandoned(name, doctor.FRESH + 1)
    (note,) = about(doctor.metrics(), name)
    assert (note.level, note.remedy) == ("note", doctor.REMEDY)
    (done,) = about(doctor.remove_unused(), name)
    assert done.message.startswith(f"removed {file.name}")
    assert not file.exists()
    assert about(doctor.metrics(), name) == []


def test_one_whose_program_may_be_about_to_come_back_is_left(name: str) -> None:
    file = abandoned(name, 1)
    (left,) = about(doctor.remove_unused(), name)
    assert "come back" in left.message
    assert file.exists()
    registry = Registry.open(name)
    assert registry.counter("a_total", "a").value == 0
    assert registry.collect()[0].members[0].cells == [1]


def test_one_that_is_damaged_is_told_with_the_reason(name: str) -> None:
    file = abandoned(name, 0)
    file.write_bytes(b"nonsense" * 100)
    os.utime(file, (0, 0))
    (note,) = about(doctor.metrics(), name)
    assert "nonsense" in note.message
    (done,) = about(doctor.remove_unused(), name)
    assert done.level == "ok"
    assert not file.exists()


def test_which_code_counts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "WHY_PYTHON", "")
    assert next(doctor.metrics()).message == "counting is done in C"
    monkeypatch.setattr(cells, "WHY_PYTHON", "no compiler")
    assert "compiler" in next(doctor.metrics()).remedy
    monkeypatch.setattr(cells, "WHY_PYTHON", f"{cells.VARIABLE}=python is set")
    assert next(doctor.metrics()).remedy.startswith("unset")


def test_the_command_does_it(tmp_path: Path, name: str) -> None:
    file = abandoned(name, doctor.FRESH + 1)
    with FakeServer(tmp_path / "run") as edge:
        (edge.runtime_dir / "edge").chmod(0o700)
        looked = edge.run("doctor")
        assert (looked.exit_code, file.exists()) == (0, True)
        assert file.name in looked.stdout
        done = edge.run("doctor", "--fix")
        assert f"removed {file.name}" in done.stdout
        assert (done.exit_code, file.exists()) == (0, False)
