from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hotswap.http import EventStream, Request, Response
from proxy.admin import admin_routes


class Owner:
    def __init__(self, state: str) -> None:
        self.state = state

    def status(self) -> dict[str, Any]:
        return {"state": self.state, "pid": 7}


def get(path: str, state: str) -> Response:
    response = asyncio.run(_answer(path, state))
    assert isinstance(response, Response)
    return response


async def _answer(path: str, state: str) -> Response | EventStream:
    return await admin_routes(Owner(state))["GET", path](Request("GET", path, {}, {}, None))


@pytest.mark.parametrize(("state", "code"), [("serving", 200), ("handover", 200), ("draining", 503), ("retired", 503)])
def test_ready_tells_whether_new_connections_are_accepted(state: str, code: int) -> None:
    response = get("/ready", state)
    assert (response.status, response.body) == (code, f"{state}\n".encode())


def test_live_answers_whatever_the_state() -> None:
    assert get("/live", "draining").status == 200


def test_status_is_that_of_the_control_socket() -> None:
    assert json.loads(get("/status", "serving").body) == {"state": "serving", "pid": 7}


def test_admin_address_changes_nothing() -> None:
    assert {method for method, _ in admin_routes(Owner("serving"))} == {"GET"}
