"""What goes wrong in the middle of an upgrade, on simulated sidecars."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from hotswap import errors
from tests.vm_agent.lifecycle.bed import Bed, Play, rests
from vm_agent.errors import StartFailed
from vm_agent.lifecycle.states import Event
from vm_agent.spec.model import Window


def test_a_release_whose_link_cannot_be_moved_is_taken_back(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        bed.releases.trouble = "no space left on device"
        edge.want("2")
        await bed.until(lambda: rests(edge, "1") and edge.driver.memory.condemned, "taken back")
        assert any(one.startswith("taken back: it cannot be kept: no space left") for one in edge.told())

    play(scene)


def test_a_sidecar_that_does_not_answer_before_the_rehearsal_condemns_nothing(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.silent = errors.OwnerHung("edge does not answer within 5 s")
        edge.want("2")
        await bed.until(lambda: edge.driver.postponed, "postponed")
        assert edge.driver.memory.condemned is None
        edge.silent = None
        edge.driver._again()
        await bed.until(lambda: rests(edge, "2"), "upgraded")

    play(scene)


@pytest.mark.parametrize("kind", [errors.OwnerHung, errors.NotRunning, errors.SourceHung])
def test_a_source_that_fails_condemns_no_release(play: Play, kind: type[errors.HotswapError]) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.answers["move"] = [{"ok": False, "exit_code": kind.exit_code, "message": "it hangs"}]
        edge.want("2")
        await bed.until(lambda: edge.driver.postponed, "postponed")
        assert edge.driver.memory.condemned is None

    play(scene)


def test_a_drain_by_hand_condemns_no_release(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.state_told = "draining"
        edge.answers["rehearse"] = [{"ok": False, "exit_code": errors.Refused.exit_code, "message": "draining"}]
        edge.want("2")
        await bed.until(lambda: edge.driver.postponed, "postponed")
        assert edge.driver.memory.condemned is None

    play(scene)


def test_a_handover_of_which_nobody_can_tell_how_it_ended_bakes(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1", bake=3600.0)
        edge.gates["move"].clear()
        edge.want("2", bake=3600.0)
        await bed.until(lambda: "move" in edge.orders, "ordered")
        edge.becomes("2", "upgrade")
        edge.answers["move"] = [{"ok": False, "exit_code": errors.ConnectionsLost.exit_code, "message": "lost"}]
        edge.silent = errors.OwnerHung("edge does not answer within 5 s")
        edge.gates["move"].set()
        await bed.until(lambda: edge.state == "baking", "in doubt it bakes")
        edge.silent = None
        edge.driver.take_back("a hunch")
        await bed.until(lambda: rests(edge, "1"), "taken back")

    play(scene)


def test_a_bug_after_the_handover_does_not_leave_what_moved_unjudged(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        begin, calls = edge.driver.care.begin_bake, []

        async def broken(*arguments: object) -> object:
            calls.append(arguments)
            if len(calls) == 2:
                raise ZeroDivisionError
            return await begin(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(edge.driver.care, "begin_bake", broken)
        edge.want("2")
        await bed.until(lambda: rests(edge, "2"), "upgraded")
        assert edge.driver.memory.condemned is None

    play(scene)


def test_a_bus_that_fails_for_a_moment_takes_no_good_release_back(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1", bake=0.2)
        edge.want("2", bake=0.2)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        bed.runner.trouble = errors.HotswapError("no answer to GetUnit within 25 s")
        await asyncio.sleep(0.05)
        assert edge.state == "baking"
        bed.runner.trouble = None
        await bed.until(lambda: rests(edge, "2"), "upgraded")

    play(scene)


def test_a_bake_is_not_lengthened_by_a_clock_that_is_set_back(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2", bake=0.3)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        monkeypatch.setattr("vm_agent.lifecycle.work.time.time", lambda: 1e9)
        await bed.until(lambda: rests(edge, "2"), "the bake ended")

    play(scene)


def test_what_hangs_in_its_bake_is_killed_and_the_release_before_follows(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2", bake=3600.0)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        edge.silent = errors.OwnerHung("edge does not answer within 5 s")
        edge.driver.take_back("it hangs")
        await bed.until(lambda: rests(edge, "1"), "the one before serves")
        assert bed.runner.killed == ["edge"]
        assert "taken back: it hangs" in edge.told()

    play(scene)


def test_a_way_back_that_leads_nowhere_ends(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2", bake=3600.0)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        busy = {"ok": False, "exit_code": errors.Busy.exit_code, "message": "another attempt is under way"}
        edge.answers["back"] = [dict(busy) for _ in range(100_000)]
        edge.driver.take_back("a hunch")
        await bed.until(lambda: edge.state == "serving", "it gives up")
        assert any(one.startswith("stuck: a hunch; could not be taken back") for one in edge.told())
        assert edge.driver.audience.outcome is not None
        assert edge.driver.audience.outcome[0] == errors.HotswapError.exit_code

    play(scene)


@pytest.mark.parametrize("paused", [True, False])
def test_a_start_that_failed_lets_no_release_in_that_has_to_wait(play: Play, *, paused: bool) -> None:
    minute = datetime.now().astimezone().hour * 60 + datetime.now().astimezone().minute
    window = None if paused else Window((minute + 600) % 1440, (minute + 660) % 1440)

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.driver.pause(paused=paused)
        edge.want("2", window=window)
        bed.runner.broken = {"1"}
        edge.serves = None
        edge.driver.care.look_soon()
        await bed.until(lambda: edge.state == "waiting", "it cannot start")
        bed.runner.broken = set()
        edge.driver.happened(Event.RETRY)
        await bed.until(lambda: edge.state == "serving", "it serves again")
        assert rests(edge, "1")

    play(scene)


def test_an_upgrade_that_cannot_be_remembered_does_not_begin(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")

        def full(_memory: object, _directory: Path) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("vm_agent.lifecycle.memory.Memory.save", full)
            edge.want("2")
            await bed.until(lambda: edge.driver.postponed, "postponed")
            assert "No space left on device" in edge.driver.postponed
            assert edge.orders == []
        edge.driver._again()
        await bed.until(lambda: rests(edge, "2"), "upgraded")

    play(scene)


def test_what_somebody_else_put_in_its_place_is_not_kept_as_the_release(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2", bake=0.3)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        edge.becomes("", "upgrade")
        await bed.until(lambda: edge.state == "serving", "the bake ended")
        assert edge.driver.serving == ""
        assert bed.releases.current("edge") == "1"

    play(scene)


def test_a_configuration_that_the_release_before_cannot_read_is_told_in_time(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def check(command: list[str]) -> None:
        asked.append(Path(command[0]).parent.parent.name)
        if asked[-1] == "1" and len(asked) > 1:
            raise StartFailed("the configuration does not suit the release: filters: not known")

    monkeypatch.setattr("vm_agent.lifecycle.work.check", check)
    monkeypatch.setattr("vm_agent.lifecycle.work._DEFAULT_PROGRAM", "bin/sidecar")

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2")
        await bed.until(lambda: rests(edge, "2"), "upgraded")
        whats = [one.partition(":")[0] for one in edge.told()]
        assert whats.index("no way back") < whats.index("moved")
        assert asked == ["1", "2", "1"]

    play(scene)
