"""Request ids that are the same in every run."""

from __future__ import annotations

import pytest

from proxy.http1.downstream import Http1Downstream
from proxy.http1.forward import RequestIds


@pytest.fixture(autouse=True)
def counted_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Http1Downstream, "request_ids", RequestIds("0" * 16))
