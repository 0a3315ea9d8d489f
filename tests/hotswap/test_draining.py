"""The course of a drain: announced, closed, over; and what its watchers are told."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from hotswap.draining import Draining
from hotswap.http import EventStream
from tests.hotswap.toy import PATIENCE, Toy, play


class Leaving(Toy):
    """Its connections go when the test says so, or at the deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.gone = asyncio.Event()

    def announce_drain(self) -> None:
        self.steps.append("announced")

    def drain(self, deadline: float) -> None:
        self.steps.append("closed")


def told(stream: EventStream) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.take().splitlines()]


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_it_is_announced_then_closed_then_over(delay: float) -> None:
    async def scenario() -> None:
        server = Leaving()
        server.connect(1, 2)
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        closing = partial(server.steps.append, "closing")
        draining = Draining(server, PATIENCE, delay, closing, over.set_result)
        stream = draining.watch()
        assert server.steps == ["announced"] if delay else ["announced", "closing", "closed"]
        assert draining.closed is not bool(delay)
        asyncio.get_running_loop().call_later(2 * delay + 0.05, server.close)
        assert await over == 0
        assert server.steps == ["announced", "closing", "closed"]
        events = told(stream)
        assert events[0]["listeners"] == ("open" if delay else "closed")
        assert events[0]["connections"] == 2
        assert (events[-1]["event"], events[-1]["exit_code"], events[-1]["cut"]) == ("result", 0, 0)
        assert stream.over

    play(scenario())


def test_the_deadline_bounds_the_whole_and_tells_what_it_cut() -> None:
    async def scenario() -> None:
        server = Leaving()
        server.connect(1, 2, 3)
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        draining = Draining(server, 0.1, 10.0, lambda: None, over.set_result)
        stream = draining.watch()
        assert await over == 0
        result = told(stream)[-1]
        assert (result["ok"], result["exit_code"], result["cut"]) == (False, 15, 3)
        assert result["message"] == "3 connections were ended at the deadline"
        server.close()

    play(scenario())


def test_without_work_it_is_over_at_once() -> None:
    async def scenario() -> None:
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        draining = Draining(Leaving(), PATIENCE, 0.0, lambda: None, over.set_result)
        assert over.done()
        stream = draining.watch()  # who gave the order hears of it all the same
        result = told(stream)[-1]
        assert (result["event"], result["exit_code"], result["cut"]) == ("result", 0, 0)
        assert stream.over

    play(scenario())
