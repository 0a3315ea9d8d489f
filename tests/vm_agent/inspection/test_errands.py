from __future__ import annotations

import asyncio
import threading

import pytest

from tests.kit.waiting import eventually
from vm_agent.inspection.errands import Errands, Overdue

PATIENCE = 20.0


def test_what_the_work_returns_or_raises_comes_back() -> None:
    async def scenario() -> None:
        errands = Errands()
        assert await errands.run("one", lambda: 42, PATIENCE) == 42
        assert await errands.run("one", lambda: 43, PATIENCE) == 43

        def failing() -> None:
            raise TimeoutError("its own")

        with pytest.raises(TimeoutError, match="its own"):
            await errands.run("one", failing, PATIENCE)

    asyncio.run(scenario())


def test_work_that_hangs_is_left_alone_and_not_sent_again() -> None:
    release, runs = threading.Event(), []

    def hanging() -> None:
        runs.append(threading.current_thread())
        release.wait()

    async def scenario() -> None:
        errands = Errands()
        with pytest.raises(Overdue, match=r"within 0\.01 s"):
            await errands.run("disk", hanging, 0.01)
        with pytest.raises(Overdue, match="since an earlier patrol"):
            await errands.run("disk", hanging, 0.01)
        assert await errands.run("other", lambda: 1, PATIENCE) == 1
        assert len(runs) == 1
        release.set()
        runs[0].join()
        assert await errands.run("disk", lambda: 2, PATIENCE) == 2

    asyncio.run(scenario())


def test_an_end_of_the_loop_does_not_wait_for_what_hangs() -> None:
    release, runs = threading.Event(), []

    def hanging() -> None:
        runs.append(threading.current_thread())
        release.wait()

    async def scenario() -> None:
        with pytest.raises(Overdue):
            await Errands().run("disk", hanging, 0.01)

    asyncio.run(scenario())
    assert runs[0].is_alive()
    assert runs[0].daemon
    release.set()
    eventually(lambda: not runs[0].is_alive(), within=PATIENCE, what="the thread ends")
