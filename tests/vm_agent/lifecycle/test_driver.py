"""What may happen around an upgrade, on simulated sidecars: specs that go, agents that die, links that are lost."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hotswap import errors
from tests.vm_agent.lifecycle.bed import Bed, Play, rests
from vm_agent.errors import InterceptionFailed
from vm_agent.lifecycle.care import seen
from vm_agent.lifecycle.states import Event, State
from vm_agent.lifecycle.wishes import Ordered
from vm_agent.network import interception
from vm_agent.spec.model import Redirect


def test_an_upgrade(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2")
        await bed.until(lambda: rests(edge, "2"), "upgraded")
        assert edge.orders == ["rehearse", "move"]

    play(scene)


@pytest.mark.parametrize("state", [State.FETCHING, State.PREPARING, State.BAKING, State.RETURNING])
def test_a_spec_that_goes_in_the_middle_ends_the_sidecar(play: Play, state: State) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.gates["back"].clear()
        edge.want("2", bake=3600.0)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        edge.driver.take_back("a hunch")
        await bed.until(lambda: edge.orders[-1] == "back", "it is taken back")
        edge.driver.memory.state = state
        edge.driver.want(None)
        await bed.until(lambda: not bed.desk.drivers, "it is no more")
        assert bed.runner.stopped == ["edge"]
        assert edge.serves is None

    play(scene)


@pytest.mark.parametrize("state", [State.FETCHING, State.WAITING, State.SERVING])
def test_rules_that_lead_to_a_sidecar_go_with_it(play: Play, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr("vm_agent.lifecycle.care.interception.remove", removed.append)

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.driver.memory.intercepted = True
        edge.driver.memory.state = state
        edge.driver.want(None)
        await bed.until(lambda: not bed.desk.drivers, "it is no more")
        assert removed == ["edge"]
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "edge: care"]

    play(scene)


@pytest.mark.parametrize("state", [State.SERVING, State.STARTING, State.STOPPING, State.BAKING])
def test_what_nobody_wants_is_not_started_by_the_next_agent(
    play: Play, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr("vm_agent.lifecycle.care.interception.remove", removed.append)

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.driver.memory.state = state
        edge.driver.memory.intercepted = True
        edge.driver.remember()
        edge.serves, edge.spec = None, None
        generation = edge.generation
        await (await bed.again()).driver.resume()
        await bed.until(lambda: not bed.desk.drivers, "it is no more")
        assert edge.generation == generation
        assert removed == ["edge"]

    play(scene)


def test_an_agent_finds_a_sidecar_whose_spec_went_meanwhile(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    adopted: list[str] = []

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.spec = None
        adopt = bed.runner.adopt

        async def noted(launch: object) -> bool:
            adopted.append("edge")
            return await adopt(launch)  # type: ignore[arg-type]

        monkeypatch.setattr(bed.runner, "adopt", noted)
        await (await bed.again()).driver.resume()
        await bed.until(lambda: not bed.desk.drivers, "it is no more")
        assert adopted == ["edge"]  # or the runner knows nothing to stop

    play(scene)


def test_a_runner_that_raises_anything_is_asked_again(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge = await bed.again()
        adopt, calls = bed.runner.adopt, []

        async def broken(launch: object) -> bool:
            calls.append(launch)
            if len(calls) == 1:
                raise OSError(24, "Too many open files")
            return await adopt(launch)  # type: ignore[arg-type]

        monkeypatch.setattr(bed.runner, "adopt", broken)
        monkeypatch.setattr("vm_agent.lifecycle.driver._ASK_SECONDS", 0.001)
        await edge.driver.resume()
        assert edge.driver.resumed

    play(scene)


def test_what_is_known_of_no_process_cannot_be_taken_back(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2", bake=3600.0)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        edge = await bed.again()
        with pytest.raises(errors.HotswapError, match="not known yet"):
            edge.driver.take_back("a hunch")
        assert edge.orders == ["rehearse", "move"]

    play(scene)


def test_the_link_follows_what_is_taken_back_after_an_agent_died_between_link_and_memory(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.want("2", bake=3600.0)
        await bed.until(lambda: edge.state == "baking", "it bakes")
        bed.releases.point("edge", "2")  # kept, and killed before it was written down
        edge = await bed.again()
        await edge.driver.resume()
        edge.driver.take_back("a hunch")
        await bed.until(lambda: rests(edge, "1"), "taken back, link and all")

    play(scene)


def test_one_at_a_time_and_each_in_its_turn(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        names = ("a", "b", "c")
        three = [await bed.serving("1", name) for name in names]
        busy: list[int] = []
        for one in three:
            one.want("2")
        while not all(one.serves == "2" and one.state == "serving" for one in three):
            busy.append(sum(one.driver.busy for one in three))
            await asyncio.sleep(0)
        assert max(busy) == 1

    play(scene)


def test_a_link_that_somebody_removed_is_made_anew(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        bed.releases.link("edge").unlink()
        edge.driver.care.look_soon()
        await bed.until(lambda: rests(edge, "1"), "mended")

    play(scene)


def test_a_release_that_only_dies_keeps_no_other_out(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vm_agent.lifecycle.care._DIES_SECONDS", 0.0)

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        bed.runner.broken = {"1"}
        edge.ready = False
        edge.silent = errors.NotRunning("nobody answers")
        edge.driver.care.look_soon()
        edge.want("2")
        await bed.until(lambda: edge.driver.postponed, "nobody is there to hand anything over")
        edge.driver.care.look_soon()
        await asyncio.sleep(0.15)  # as long as a start may take
        edge.driver.care.look_soon()
        await bed.until(lambda: edge.state == "waiting", "given up")
        edge.driver.happened(Event.RETRY)
        await bed.until(lambda: rests(edge, "2"), "the wanted one was started")

    play(scene)


def test_a_status_does_not_wait_for_a_bus_that_hangs(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vm_agent.lifecycle.care._SEEN_SECONDS", 0.01)

    async def scene(bed: Bed) -> None:
        two = [await bed.serving("1", name) for name in ("a", "b")]
        look = bed.runner.look

        async def hangs(name: str) -> object:
            return await (asyncio.Event().wait() if name == "a" else look(name))

        monkeypatch.setattr(bed.runner, "look", hangs)
        (nothing, why), (running, fine) = await seen([one.driver for one in two])
        assert (nothing, fine) == (None, "")
        assert "no answer of fake" in why
        assert running is not None

    play(scene)


def test_a_sidecar_that_hangs_when_the_agent_begins_is_started_anew(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vm_agent.lifecycle.driver._ASK_SECONDS", 0.001)

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        edge.silent = errors.OwnerHung("edge does not answer within 5 s")
        edge = await bed.again()
        async with asyncio.timeout(5):
            await edge.driver.resume()
        assert bed.runner.killed == ["edge"]
        assert edge.state == "serving"

    play(scene)


def test_who_waits_for_an_order_is_told_that_its_sidecar_is_no_more(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        other = await bed.serving("1", "other", bake=3600.0)
        other.want("2", bake=3600.0)
        await bed.until(lambda: other.state == "baking", "the other is being upgraded")
        stream = edge.driver.watch()
        edge.driver.order(Ordered("2", "by hand"))
        edge.driver.want(None)
        await bed.until(lambda: "edge" not in bed.desk.drivers, "it is no more")
        assert not edge.driver.audience
        del stream

    play(scene)


def test_who_asks_after_an_upgrade_was_postponed_is_told_the_same(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        bed.releases.missing = {"2"}
        edge.want("2")
        await bed.until(lambda: edge.driver.postponed and edge.driver.waits, "postponed")
        edge.driver.audience.outcome = None  # as for whoever joins now
        assert edge.driver.result()["exit_code"] == errors.AttemptFailed.exit_code
        assert "release 2 is missing" in edge.driver.result()["message"]

    play(scene)


def test_who_applies_rules_that_cannot_be_laid_is_told_so(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_wanted: object, _pid: int) -> bool:
        raise InterceptionFailed("nobody listens on port 15009")

    monkeypatch.setattr(interception, "apply", refuse)

    async def scene(bed: Bed) -> None:
        edge = await bed.serving("1")
        spec = edge.driver.spec
        assert spec is not None
        led = (Redirect(mode="redirect", ports=(80,), to=15009),)
        edge.driver.want(msgspec.structs.replace(spec, intercept=led))
        stream = edge.driver.watch()
        await bed.until(lambda: not edge.driver.audience, "the answer is there")
        result = msgspec.json.decode(stream.take().splitlines()[-1])
        assert (result["event"], result["exit_code"]) == ("result", InterceptionFailed.exit_code)
        assert "15009" in result["message"]

    play(scene)


def test_a_sidecar_that_cannot_start_says_why_it_waits(play: Play) -> None:
    async def scene(bed: Bed) -> None:
        edge = bed.make()
        bed.releases.missing = {"1"}
        edge.want("1")
        await edge.driver.resume()
        await bed.until(lambda: edge.state == "waiting", "it waits")
        edge.driver.consider()
        assert "release 1 is missing" in edge.driver.waits

    play(scene)
