"""What `hotswap doctor` tells about the record layer."""

from __future__ import annotations

import pytest

from proxy.tls import layer
from proxy.tls.doctor import tls


def test_the_layer_in_c_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "WHY_PYTHON", "")
    monkeypatch.setattr(layer, "OPENSSL", "3.9.9")
    (finding,) = tls()
    assert (finding.check, finding.level, finding.remedy) == ("tls", "ok", "")
    assert "OpenSSL 3.9.9" in finding.message


def test_the_layer_in_python_is_a_note_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "WHY_PYTHON", "cannot import name '_record'")
    (finding,) = tls()
    assert finding.level == "note"
    assert "cannot import name '_record'" in finding.message
    assert "libssl-dev" in finding.remedy


def test_the_layer_in_python_on_demand_says_how_to_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "WHY_PYTHON", f"{layer.VARIABLE}=python is set")
    (finding,) = tls()
    assert (finding.level, "unset HOTSWAP_TLS_RECORD" in finding.remedy) == ("note", True)
