from __future__ import annotations

import asyncio

from vm_agent.runners.watchdog import Watchdog

PATIENCE = 20.0


def test_it_barks_when_nothing_came_and_not_for_signs_before() -> None:
    async def scene() -> None:
        barked = asyncio.Event()
        dog = Watchdog(0.05, barked.set)
        dog.begin()
        dog.alive()
        async with asyncio.timeout(PATIENCE):
            await barked.wait()

    asyncio.run(scene())


def test_a_sign_of_life_moves_the_deadline() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        barked: asyncio.Future[float] = loop.create_future()
        dog = Watchdog(0.2, lambda: barked.set_result(loop.time()))
        dog.begin()
        signs = []

        def live() -> None:
            signs.append(loop.time())
            dog.alive()

        loop.call_later(0.1, live)
        async with asyncio.timeout(PATIENCE):
            assert await barked - signs[0] >= 0.19

    asyncio.run(scene())


def test_without_a_time_limit_or_after_its_end_it_does_not_bark() -> None:
    async def scene() -> None:
        dog = Watchdog(0.0, lambda: None)
        dog.begin()
        assert dog._timer is None
        dog.seconds = 0.01
        dog.begin()
        dog.end()
        assert dog._timer is None

    asyncio.run(scene())
