from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tests.kit.companion import ROOT
from vm_agent.inspection.findings import Finding, Severity, What, ordered, size, span

PAGE = ROOT / "docs" / "agent-inspect.md"


def finding(severity: Severity = "warning", what: What = "limits", place: str = "", sidecar: str = "edge") -> Finding:
    return Finding(sidecar=sidecar, severity=severity, what=what, place=place, text="so it is", remedy="mend it")


@pytest.mark.parametrize("what", get_args(What))
def test_every_word_has_a_section_of_the_page(what: str) -> None:
    assert f"\n### {what}\n" in PAGE.read_text()


def test_the_page_has_no_section_for_a_word_that_there_is_not() -> None:
    sections = {line.removeprefix("### ") for line in PAGE.read_text().splitlines() if line.startswith("### ")}
    assert sections == set(get_args(What))


def test_every_word_is_found_by_some_check() -> None:
    package = Path(ROOT / "vm_agent" / "inspection")
    source = "".join(path.read_text() for path in package.glob("*.py") if path.name != "findings.py")
    assert [what for what in get_args(What) if f'"{what}"' not in source] == []


def test_the_worst_comes_first_and_then_the_machine() -> None:
    notice, warning, error = finding("notice", "paused"), finding("warning"), finding("error", "waits")
    machine = finding("warning", "disk_full", "/", sidecar="")
    assert ordered([notice, warning, error, machine]) == [error, machine, warning, notice]


def test_of_one_thing_the_worse_finding_stays() -> None:
    assert ordered([finding("notice"), finding("error"), finding("warning")]) == [finding("error")]
    assert len(ordered([finding(place="memory"), finding(place="open_files")])) == 2


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5120.0 GiB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86400 * 30, "30 d")]
)
def test_spans_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text
