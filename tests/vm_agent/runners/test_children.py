"""The agent in the place of systemd: starts, deaths, listeners that stay, and the end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.kit.offspring import kill, run_state, wait_for_end
from tests.kit.ports import refused
from tests.vm_agent.runners.stage import PATIENCE, Stage, look, moved_to, until
from vm_agent.errors import StartFailed
from vm_agent.runners.children import Children


def test_a_sidecar_is_started_looked_at_and_stopped(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            running = await look(runner)
            assert (running.pid, running.ready) == (int(await stage.ask("pid")), True)
            assert (running.restarts, running.ending, running.status) == (0, "", "serves")
            assert running.held == (f"127.0.0.1:{stage.port}",)
            assert await stage.ask("umask") == str(0o077)
            await runner.stop("edge", 5.0)
            assert await runner.look("edge") is None
        assert refused(f"127.0.0.1:{stage.port}")
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_after_a_death_the_next_process_has_the_listener_and_nobody_was_refused(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            pid = int(await stage.ask("pid"))
            die(pid)
            # The runner has not heard of it yet: this connection is made while nobody is there to accept it.
            assert int(await stage.ask("pid")) != pid
            assert await stage.ask("inherited") == "True"

            async def again() -> bool:
                return (await look(runner)).ready

            await until(again, "it is ready again")
            running = await look(runner)
            assert (running.restarts, running.ending) == (1, "killed by signal 9")
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_kill_ends_a_process_that_hangs_and_it_is_started_anew(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            pid = int(await stage.ask("pid"))
            kill(pid, signal.SIGSTOP)
            await runner.kill("edge")
            await until(gone(pid), "it was killed")
            assert int(await stage.ask("pid")) != pid
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("words", "changes", "told"),
    [
        (("broken",), {}, ["exit code 1", "no such luck: the configuration is wrong"]),
        (("silent",), {"start_timeout": 0.2}, ["not ready within 0.2 s"]),
        (
            (),
            {"command": ("/nowhere/bin/hotswap", "run")},
            ["exit code 203", "/nowhere/bin/hotswap cannot be executed"],
        ),
        ((), {"directory": Path("/nowhere")}, ["/nowhere: No such file or directory"]),
        ((), {"user": "nobody-of-this-name"}, ["there is no user nobody-of-this-name", "useradd"]),
        ((), {"capabilities": ("CAP_OF_GOOD_HOPE",)}, ["there is no capability CAP_OF_GOOD_HOPE", "capabilities(7)"]),
    ],
    ids=["ends", "never-ready", "no-program", "no-directory", "no-user", "no-capability"],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(
    stage: Stage, words: tuple[str, ...], changes: dict[str, object], told: list[str]
) -> None:
    if "capabilities" in changes and os.geteuid():
        pytest.skip("not root")

    async def scene() -> None:
        async with stage.children() as runner:
            with pytest.raises(StartFailed) as caught:
                await runner.start(stage.launch(*words, **changes))
            for text in told:
                assert text in str(caught.value)
            assert await runner.look("edge") is None
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_what_does_nothing_but_die_is_started_more_and_more_seldom(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch("frail"))
            die(int(await stage.ask("pid")))

            async def resting() -> bool:
                running = await look(runner)
                return running.restarts >= 3 and running.pid == 0

            await until(resting, "it rests")
            running = await look(runner)
            assert (running.ending, running.ready) == ("exit code 7", False)
            assert running.held == (f"127.0.0.1:{stage.port}",)
            await runner.stop("edge", 5.0)
            assert await runner.look("edge") is None

    asyncio.run(scene())


def test_the_watch_moves_to_the_process_that_is_named_and_hears_of_its_death(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            first = int(await stage.ask("pid"))
            second = int(await stage.ask("upgrade"))
            await moved_to(runner, second)
            assert (await look(runner)).restarts == 0
            kill(first, signal.SIGTERM)
            await until(gone(first), "the one before was waited for")
            assert (await look(runner)).pid == second
            die(second)  # it fell to us when the one before ended
            assert int(await stage.ask("pid")) not in {first, second}
            assert (await look(runner)).ending == "killed by signal 9"
            await runner.stop("edge", 5.0)
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_a_successor_that_dies_while_the_one_before_lives_is_replaced_and_waited_for_later(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            first = int(await stage.ask("pid"))
            second = int(await stage.ask("upgrade"))
            await moved_to(runner, second)
            die(second)
            assert int(await stage.ask("pid")) not in {first, second}
            assert run_state(second) == "Z"  # whoever started it lives, and does not ask
            die(first)
            await until(gone(first), "the first one was waited for")
            await until(gone(second), "the second one was waited for")
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_stop_waits_for_the_drain_and_then_kills_whatever_is_left(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            other = int(await stage.ask("offspring"))
            await stage.ask("stay")
            await runner.stop("edge", 0.1)
            assert run_state(other) in "Z-"
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_a_stop_in_the_middle_of_a_start_ends_both(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            starting = asyncio.ensure_future(runner.start(stage.launch("silent")))
            await until(stage.served, "it serves, and did not say so")
            await runner.stop("edge", 5.0)
            with pytest.raises(StartFailed):
                await starting
            assert await runner.look("edge") is None
        assert stage.offspring.living() == []

    asyncio.run(scene())


def test_one_that_goes_on_after_the_death_of_its_successor_is_watched(stage: Stage) -> None:
    """As any main process: it has to give signs of life."""

    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch("frail"))
            first = int(await stage.ask("pid"))
            second = int(await stage.ask("upgrade"))
            await moved_to(runner, second)
            die(second)

            async def resting() -> bool:
                running = await look(runner)
                return running.restarts >= 3 and running.pid == 0

            await until(resting, "it rests")
            await runner.limit(stage.launch("frail", watchdog=0.2))
            restarts = (await look(runner)).restarts

            async def rests_again() -> bool:
                running = await look(runner)
                return running.restarts > restarts and running.pid == 0

            await until(rests_again, "another one was started with a watchdog")
            kill(first, signal.SIGUSR2)

            async def ended() -> bool:
                return run_state(first) in "Z-"

            await until(ended, "it was killed for want of a sign of life")
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_orphans_of_a_sidecar_are_waited_for_and_those_of_others_are_not(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
            await runner.start(stage.launch())
            other = int(await stage.ask("offspring"))
            die(int(await stage.ask("pid")))
            await stage.ask("pid")
            die(other)
            await until(gone(other), "the orphan was waited for")
            assert await process.wait() == 5
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_without_a_sign_of_life_it_is_killed_and_started_anew(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch(watchdog=0.3))
            pid = int(await stage.ask("pid"))
            assert await stage.ask("variable", "WATCHDOG_USEC") == "300000"

            async def replaced() -> bool:
                return (await look(runner)).pid not in {0, pid}

            await until(replaced, "it was killed for being silent")
            assert (await look(runner)).ending == "killed by signal 9"
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_signs_of_life_keep_it_and_trigger_ends_it(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch(watchdog=600.0))
            pid = int(await stage.ask("pid"))
            await stage.ask("notify", "WATCHDOG=1")
            await stage.ask("barrier")
            assert (await look(runner)).pid == pid
            await stage.ask("notify", "WATCHDOG=trigger")
            await until(gone(pid), "it was killed")
            assert int(await stage.ask("pid")) != pid
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_a_barrier_is_answered_after_all_before_it(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            await stage.ask("notify", "STATUS=thinks")
            await stage.ask("barrier")
            assert (await look(runner)).status == "thinks"
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_a_main_process_that_is_none_of_its_own_is_not_believed(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            await stage.ask("notify", f"MAINPID={os.getpid()}")
            await stage.ask("barrier")
            assert (await look(runner)).pid == int(await stage.ask("pid"))
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_what_was_kept_is_let_go_by_name(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            await stage.ask("notify", "FDSTOREREMOVE=1", "FDNAME=lines")
            await stage.ask("barrier")
            assert (await look(runner)).held == ()
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_changes_are_told(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            stage.changes.clear()
            die(int(await stage.ask("pid")))
            await stage.ask("pid")
            assert stage.changes
            assert set(stage.changes) == {"edge"}
            await runner.stop("edge", 5.0)

    asyncio.run(scene())


def test_the_runner_ends_and_the_sidecar_does_not(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            await runner.start(stage.launch())
            pid = int(await stage.ask("pid"))
        assert run_state(pid) in "SR"
        assert int(await stage.ask("pid")) == pid

    asyncio.run(scene())


def test_what_does_not_run_is_nothing(stage: Stage) -> None:
    async def scene() -> None:
        async with stage.children() as runner:
            assert await runner.look("edge") is None
            assert await runner.adopt(stage.launch()) is False
            await runner.stop("edge", 1.0)
            assert isinstance(runner, Children)
            assert runner.kind == "children"

    asyncio.run(scene())


def die(pid: int) -> None:
    """SIGKILL, and wait: a process that is about to die may still accept a connection."""
    kill(pid, signal.SIGKILL)
    wait_for_end(pid, within=PATIENCE)


def gone(pid: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return run_state(pid) == "-"

    return check
