from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotswap.http import Request, Response
from hotswap.server import Server
from proxy import admin


def get(path: str, state: str) -> Response:
    async def ask() -> Any:
        return await admin.admin_routes(serving(state))["GET", path](Request("GET", path, {}, {}, None))

    return cast("Response", asyncio.run(ask()))


def serving(state: str, server: Any = None) -> Any:
    return SimpleNamespace(state=state, server=server or Server())


@pytest.mark.parametrize(("state", "code"), [("serving", 200), ("handover", 200), ("draining", 503), ("retired", 503)])
def test_ready_tells_whether_new_connections_are_accepted(state: str, code: int) -> None:
    response = get("/ready", state)
    assert (response.status, response.body) == (code, f"{state}\n".encode())


def test_live_answers_whatever_the_state() -> None:
    assert get("/live", "draining").status == 200


def test_status_is_that_of_the_control_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "status", lambda one: {"state": one.state, "pid": 7})
    assert json.loads(get("/status", "serving").body) == {"state": "serving", "pid": 7}


def test_admin_address_changes_nothing() -> None:
    assert {method for method, _ in admin.admin_routes(serving("serving"))} == {"GET"}
