"""Request ids that are the same in every run, and sessions with either parser."""

from __future__ import annotations

import pytest

from proxy.http1.forward import RequestIds
from tests.proxy.http1.parsers import BOTH, implementation

CALLS = (
    ("downstream", "find_end"),
    ("downstream", "parse_request"),
    ("filtered", "parse_request"),
    ("upstream", "find_end"),
    ("upstream", "parse_response"),
)


@pytest.fixture(autouse=True)
def counted_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.http1.downstream.REQUEST_IDS", RequestIds("0" * 16))


@pytest.fixture(params=BOTH)
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of whole sessions that are about what parsers take and refuse."""
    parser = implementation(request.param)
    for session, function in CALLS:
        monkeypatch.setattr(f"proxy.http1.{session}.{function}", getattr(parser, function))
