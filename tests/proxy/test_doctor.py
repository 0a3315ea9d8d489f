"""What `hotswap doctor` tells about the data plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotswap.cli.checks import Finding
from proxy import compiled
from proxy.doctor import plane


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the packages lie."""
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "proxy" / "compiled.py"))
    return tmp_path


def because(monkeypatch: pytest.MonkeyPatch, reason: str) -> Finding:
    monkeypatch.setattr(compiled, "WHY_INTERPRETED", reason)
    (finding,) = plane()
    return finding


def test_compiled_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = because(monkeypatch, "")
    assert (finding.check, finding.level, finding.remedy) == ("plane", "ok", "")


def test_interpreted_is_a_note_with_its_reason(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = because(monkeypatch, "it was not built")
    assert finding.level == "note"
    assert finding.message.endswith(": it was not built")
    assert "install a C compiler" in finding.remedy


def test_in_a_checkout_it_names_the_command_that_builds_in_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "setup.py").touch()
    finding = because(monkeypatch, "proxy.flow was built from another source")
    assert finding.remedy.endswith(f"-m pip install --editable {home}")


def test_interpreted_on_demand_says_how_to_undo_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = because(monkeypatch, f"{compiled.VARIABLE}=python is set")
    assert finding.remedy.startswith("unset HOTSWAP_PLANE")
