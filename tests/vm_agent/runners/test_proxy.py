"""The real proxy as a sidecar of the agent's own: it dies and is served again soon, and is upgraded meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.companion import ROOT
from tests.kit.offspring import VARIABLE, kill, wait_for_end
from tests.kit.ports import port_of
from tests.kit.processes import hotswap
from tests.kit.stage import Edge, Stage
from tests.vm_agent.runners.stage import PATIENCE, look, opened, until
from vm_agent.runners.base import Launch
from vm_agent.spec.model import Limits

RUNS = 5
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def edge() -> Iterator[Edge]:
    stage = Stage()
    try:
        yield Edge(stage, stage.upstreams())
        stage.show()
    finally:
        stage.close()


def launch(edge: Edge, limits: Limits = Limits()) -> Launch:  # noqa: B008  it is frozen
    instance = edge.instance
    return Launch(
        name=instance.name,
        command=(*hotswap(), *instance.run_arguments()),
        directory=instance.directory,
        runtime_dir=instance.runtime_dir,
        environment={
            "PYTHONPATH": str(ROOT),
            "HOTSWAP_RUNTIME_DIR": str(instance.runtime_dir),
            VARIABLE: edge.stage.offspring.token,
        },
        log=instance.log_file,
        limits=limits,
        watchdog=10.0,
    )


def processor_time(pid: int) -> float:
    """Seconds, user and system, of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def get(edge: Edge) -> bytes:
    """The status line of one request on a connection of its own. Raises `ConnectionError` if it is refused."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(edge.web))
        writer.write(b"GET /headers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    return line


@pytest.mark.all
def test_after_a_death_it_is_served_again_soon_and_nobody_is_refused(edge: Edge) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with opened() as runner:
            await runner.start(launch(edge))
            assert (await get(edge)).startswith(b"HTTP/1.1 200")
            took, cost = [], []
            for run in range(RUNS):

                async def ready(restarts: int = run) -> bool:
                    running = await look(runner)
                    return running.ready and running.restarts == restarts and edge.web in running.held

                await until(ready, "it is ready and its listeners are held")
                pid = (await look(runner)).pid
                began = loop.time()
                kill(pid, signal.SIGKILL)
                wait_for_end(pid, within=PATIENCE)
                assert (await get(edge)).startswith(b"HTTP/1.1 200")
                took.append(loop.time() - began)
                cost.append(processor_time((await look(runner)).pid))
            # Figures, not limits: most of it is the start of the interpreter, on a machine that others use as well.
            print("served again after", [f"{seconds * 1000:.0f} ms" for seconds in took])
            print("of which the new process computed", [f"{seconds * 1000:.0f} ms" for seconds in cost])
            await runner.stop("edge", 10.0)

    asyncio.run(scene())


@pytest.mark.all
def test_an_upgrade_and_one_by_hand_keep_it_watched(edge: Edge) -> None:
    async def scene() -> None:
        async with opened() as runner:
            await runner.start(launch(edge))
            first = (await look(runner)).pid
            done = await asyncio.to_thread(edge.instance.upgrade)
            assert done.exit_code == 0, done.text

            async def moved() -> bool:
                running = await look(runner)
                return running.pid != first and running.ready and running.restarts == 0

            await until(moved, "the new generation is the main process")
            second = (await look(runner)).pid
            kill(second, signal.SIGKILL)
            wait_for_end(second, within=PATIENCE)
            assert (await get(edge)).startswith(b"HTTP/1.1 200")
            assert (await look(runner)).pid not in {0, first, second}
            await runner.stop("edge", 10.0)
            assert edge.instance.generations() == []

    asyncio.run(scene())


@pytest.mark.all
def test_its_limits_are_those_of_its_group_where_there_are_groups(edge: Edge) -> None:
    async def scene() -> None:
        async with opened() as runner:
            await runner.start(launch(edge, Limits(memory=512 << 20, cpu=1.5)))
            missed = await runner.limit(launch(edge, Limits(memory=300 << 20, cpu=1.5)))
            running = await look(runner)
            groups = await asyncio.to_thread(Path(f"/proc/{running.pid}/cgroup").read_text)
            await runner.stop("edge", 10.0)
            if missed:
                pytest.skip(f"this kernel, or its owner, gives us no groups: {missed}")
            assert "/sidecar-edge-" in groups

    asyncio.run(scene())
