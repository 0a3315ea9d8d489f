"""An agent that is killed leaves its sidecars running; the next one finds them, and holds their listeners again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hotswap.errors import HotswapError
from tests.hotswap.echo import Client, Echo
from tests.kit.companion import ROOT, Companion
from tests.kit.offspring import VARIABLE, Offspring, kill, run_state, wait_for_end
from tests.vm_agent.runners.agent import Started, Wanted
from tests.vm_agent.runners.stage import PATIENCE, Stage, look, opened, until
from vm_agent.errors import StartFailed
from vm_agent.runners import adoption, processes
from vm_agent.runners.processes import service_of, stat_of


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    made = Echo(tmp_path, Offspring())
    try:
        yield made
        print(made.log_text())
    finally:
        made.close()


def wanted(echo: Echo) -> Wanted:
    return Wanted(
        name="echo",
        command=[sys.executable, *echo.command()[1:]],
        directory=str(ROOT),
        runtime_dir=echo.options.runtime_dir,
        environment={"PYTHONPATH": str(ROOT), VARIABLE: echo.offspring.token},
        log=str(echo.log),
    )


def orphan(echo: Echo) -> int:
    """A sidecar whose agent was killed; its pid."""
    agent = Companion("tests.vm_agent.runners.agent", wanted(echo))
    try:
        started = msgspec.json.decode(agent.line(within=PATIENCE), type=Started)
        assert started.held == (echo.options.address,)
        kill(agent.pid, signal.SIGKILL)
        wait_for_end(agent.pid, within=PATIENCE)
    finally:
        agent.stop()
    assert run_state(started.pid) in "SR"
    return started.pid


def test_a_sidecar_that_outlived_its_agent_is_adopted_with_its_listeners(echo: Echo) -> None:
    async def scene() -> None:
        pid = orphan(echo)
        client = echo.client()
        client.say(b"before")
        async with opened() as runner:
            launch = wanted(echo).launch()
            assert await runner.adopt(launch)
            assert await runner.adopt(launch)

            async def held() -> bool:
                return (await look(runner, "echo")).held == (echo.options.address,)

            await until(held, "its listener is held again")
            running = await look(runner, "echo")
            assert (running.pid, running.ready, running.restarts) == (pid, True, 0)
            client.say(b"after")
            kill(pid, signal.SIGKILL)
            wait_for_end(pid, within=PATIENCE)
            waiting = Client(echo.options.address)  # nobody is there, and it is not refused
            waiting.send(b"soon\n")
            assert await asyncio.to_thread(waiting.line) == b"1 of 1: soon"
            waiting.close()
            again = await look(runner, "echo")
            assert again.restarts == 1
            assert again.pid not in {0, pid}
            await runner.stop("echo", 5.0)
            assert echo.offspring.living() == []

    asyncio.run(scene())


def test_one_that_hangs_is_adopted_and_can_be_killed(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "ANSWER_SECONDS", 0.2)

    async def scene() -> None:
        pid = orphan(echo)
        echo.stop(pid)
        async with opened() as runner:
            assert await runner.adopt(wanted(echo).launch())
            running = await look(runner, "echo")
            assert (running.pid, running.ready) == (pid, False)
            await runner.kill("echo")

            async def replaced() -> bool:
                running = await look(runner, "echo")
                return running.ready and running.pid != pid

            await until(replaced, "another one is ready in its place")
            await runner.stop("echo", 5.0)

    asyncio.run(scene())


def test_one_that_hangs_is_given_the_time_of_a_start(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks after the health of what is not ready."""
    monkeypatch.setattr(adoption, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(adoption, "ANNOUNCE_SECONDS", 0.2)

    async def scene() -> None:
        pid = orphan(echo)
        echo.stop(pid)
        async with opened() as runner:
            assert await runner.adopt(replace(wanted(echo).launch(), start_timeout=0.5))

            async def died() -> bool:
                return (await look(runner, "echo")).restarts > 0

            await until(died, "it was killed")
            await runner.stop("echo", 5.0)

    asyncio.run(scene())


def test_of_one_that_was_started_by_hand_nothing_else_in_its_session_is_ended(echo: Echo) -> None:
    """A shell, and the jobs beside it."""

    async def scene() -> None:
        shell = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", 'sleep 600 >/dev/null & echo $!; exec "$@"', "sh"),
            *(sys.executable, *echo.command()[1:]),
            env={**echo.offspring.environment, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert shell.stdout is not None
        pid, job = shell.pid, int(await shell.stdout.readline())
        async with opened() as runner:

            async def adopted() -> bool:
                return await runner.adopt(wanted(echo).launch())

            await until(adopted, "it was adopted")
            assert os.getsid(pid) == os.getsid(job)
            await runner.stop("echo", 5.0)
            assert run_state(pid) in "Z-"
        assert run_state(job) == "S"

    asyncio.run(scene())


def test_one_that_starts_is_waited_for_by_the_next_agent(stage: Stage) -> None:
    async def scene() -> None:
        launch = stage.launch("silent")
        async with stage.children() as runner:
            starting = asyncio.ensure_future(runner.start(launch))
            await until(stage.served, "it serves, and did not say so")
            pid = int(await stage.ask("pid"))
        with pytest.raises(StartFailed):
            await starting
        async with stage.children() as runner:
            adopting = asyncio.ensure_future(runner.adopt(launch))

            async def there() -> bool:
                return await runner.look("edge") is not None

            await until(there, "it is found")
            assert not (await look(runner)).ready
            await stage.ask("notify", "READY=1")
            assert await adopting
            assert ((await look(runner)).pid, (await look(runner)).ready) == (pid, True)
            await runner.stop("edge", 5.0)
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_one_that_is_not_ready_in_time_for_the_next_agent_either_is_ended(stage: Stage) -> None:
    async def scene() -> None:
        launch = stage.launch("silent")
        async with stage.children() as runner:
            starting = asyncio.ensure_future(runner.start(launch))
            await until(stage.served, "it serves, and did not say so")
            pid = int(await stage.ask("pid"))
        with pytest.raises(StartFailed):
            await starting
        stat = stat_of(pid)
        assert stat is not None
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - stat.began
        async with stage.children() as runner:
            assert not await runner.adopt(replace(launch, start_timeout=age + 1.0))
            assert await runner.look("edge") is None
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_somebody_else_with_that_number_is_not_adopted(echo: Echo) -> None:
    """Its socket is answered by one process, and its lock held by another."""

    async def scene() -> None:
        directory = Path(echo.options.runtime_dir) / "echo"
        directory.mkdir(parents=True, mode=0o700)
        (directory / "lock").touch()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = msgspec.json.encode({"pid": os.getppid(), "state": "serving"})
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            writer.close()

        server = await asyncio.start_unix_server(answer, directory / "control.sock")
        assert await adoption.find(Path(echo.options.runtime_dir), "echo") is None
        server.close()
        await server.wait_closed()

    asyncio.run(scene())


def test_the_service_of_a_process_is_told_unless_it_is_our_own(tmp_path: Path) -> None:
    for pid, group in {
        "self": "0::/system.slice/hotswap-agent.service",
        "1": "0::/init.scope",
        "7": "1:name=systemd:/system.slice/hotswap-sidecar-edge.service\n0::/",
        "8": "0::/system.slice/hotswap-agent.service/sidecar-edge-0",
    }.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(f"{group}\n")
    assert [service_of(pid, tmp_path) for pid in (1, 7, 8, 9)] == ["", "hotswap-sidecar-edge.service", "", ""]


def test_what_systemd_looks_after_is_not_adopted(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would start it anew, each in the place of the other's, and neither could stop it."""
    monkeypatch.setattr(processes, "service_of", lambda _pid: "hotswap-proxy@echo.service")

    async def scene() -> None:
        pid = echo.start()
        async with opened() as runner:
            with pytest.raises(HotswapError, match="disable --now hotswap-proxy@echo"):
                await runner.adopt(wanted(echo).launch())
            assert await runner.look("echo") is None
        assert run_state(pid) in "SR"

    asyncio.run(scene())


def test_who_holds_a_file_is_found_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w"):
        assert adoption.holds(os.getpid(), path)
    assert not adoption.holds(os.getpid(), path)
    assert not adoption.holds(os.getpid(), tmp_path / "none")
