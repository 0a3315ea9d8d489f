"""Whatever happens to a sidecar and its agent, in whatever order: once all is well again, it is at rest, and whole."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from hotswap import errors
from tests.vm_agent.lifecycle.bed import Bed, FakeSidecar, Play
from vm_agent.lifecycle.memory import Memory
from vm_agent.lifecycle.states import Event, State
from vm_agent.lifecycle.wishes import Ordered

RELEASES = ("1", "2", "3")
STEPS = 40
FEW, MORE = 8, 200


class Life:
    """One, of random steps."""

    def __init__(self, bed: Bed, edge: FakeSidecar, seed: int) -> None:
        self.bed, self.edge = bed, edge
        self.chance = random.Random(seed)
        self.steps: list[str] = []
        self.resumes: asyncio.Task[None] | None = None

    async def step(self) -> None:
        """Something happens."""
        name = self.chance.choice(
            [
                "want",
                "want",
                "gone",
                "pause",
                "back",
                "order",
                "dies",
                "agent",
                "by_hand",
                "silent",
                "gate",
                "answer",
                "broken",
                "missing",
                "disk",
                "bus",
                "breath",
                "breath",
                "breath",
                "stranger",
                "lost",
                "drains",
            ]
        )
        self.steps.append(name)
        with contextlib.suppress(errors.HotswapError):
            await getattr(self, name)()
        for _ in range(self.chance.randrange(12)):
            await asyncio.sleep(self.chance.choice([0, 0, 0.001]))

    def resume(self) -> None:
        if self.resumes is not None:
            self.resumes.cancel()
        self.resumes = asyncio.create_task(self.edge.driver.resume())

    async def want(self) -> None:
        if "edge" not in self.bed.desk.drivers:
            await self.begin()
        self.edge.want(self.chance.choice(RELEASES), bake=self.chance.choice([0.0, 0.01, 60.0]))

    async def begin(self) -> None:
        self.edge = self.bed.make()
        self.edge.spec = None
        self.edge.driver.want(None)
        self.resume()

    async def gone(self) -> None:
        if self.chance.random() < 0.3:
            self.edge.spec = None
            self.edge.driver.want(None)

    async def pause(self) -> None:
        self.edge.driver.pause(paused=self.chance.random() < 0.5)

    async def back(self) -> None:
        self.edge.driver.take_back("a hunch")

    async def order(self) -> None:
        self.edge.driver.order(Ordered(self.chance.choice(RELEASES), "by hand", back=self.chance.random() < 0.3))

    async def dies(self) -> None:
        if self.edge.serves is not None:
            self.edge.dies()

    async def lost(self) -> None:
        self.edge.serves = None
        self.edge.driver.care.look_soon()

    async def agent(self) -> None:
        if "edge" in self.bed.desk.drivers:
            self.edge = await self.bed.again()
            self.resume()

    async def by_hand(self) -> None:
        installed = [one for one in RELEASES if (self.bed.releases.directory / one).exists()]
        if self.edge.serves is not None and installed:
            self.edge.becomes(self.chance.choice(installed), "upgrade")
            self.edge.driver.care.look_soon()

    async def stranger(self) -> None:
        if self.edge.serves is not None and self.chance.random() < 0.3:
            self.edge.becomes("", "upgrade")
            self.edge.driver.care.look_soon()

    async def silent(self) -> None:
        kinds = (None, None, errors.OwnerHung("it hangs"), errors.NotRunning("nobody answers"))
        self.edge.silent = self.chance.choice(kinds)

    async def drains(self) -> None:
        self.edge.state_told = self.chance.choice(["serving", "serving", "draining"])

    async def gate(self) -> None:
        gate = self.edge.gates[self.chance.choice(["rehearse", "move", "back"])]
        gate.clear() if self.chance.random() < 0.5 else gate.set()

    async def answer(self) -> None:
        kind = self.chance.choice([errors.AttemptFailed, errors.Busy, errors.ConnectionsLost, errors.NotRunning])
        answer = {"ok": False, "exit_code": kind.exit_code, "message": "no"}
        self.edge.answers[self.chance.choice(["rehearse", "move", "back"])].append(answer)

    async def broken(self) -> None:
        self.bed.runner.broken = {one for one in RELEASES if self.chance.random() < 0.3}

    async def missing(self) -> None:
        self.bed.releases.missing = {one for one in RELEASES if self.chance.random() < 0.3}

    async def disk(self) -> None:
        self.bed.releases.trouble = self.chance.choice(["", "", "no space left on device"])

    async def bus(self) -> None:
        self.bed.runner.trouble = self.chance.choice([None, None, errors.HotswapError("no answer of systemd")])

    async def breath(self) -> None:
        await asyncio.sleep(0.002)

    def heal(self) -> None:
        """All that is outside of the agent is well again."""
        self.edge.silent, self.edge.state_told = None, "serving"
        self.bed.runner.broken, self.bed.runner.trouble = set(), None
        self.bed.releases.missing, self.bed.releases.trouble = set(), ""
        for what, gate in self.edge.gates.items():
            self.edge.answers[what].clear()
            gate.set()

    def rests(self) -> bool:
        """It is as it should be, and everybody who says so agrees. Hurries on what waits for its time."""
        driver, memory = self.edge.driver, self.edge.driver.memory
        driver.consider()
        if memory.state in {State.WAITING, State.STOPPING}:
            driver.happened(Event.RETRY)
        if self.edge.spec is None:
            return not self.bed.desk.drivers and self.edge.serves is None
        if memory.state is State.BAKING:
            driver.take_back("enough")
        if driver.postponed:
            driver._again()
        driver.care.look_soon()
        bad = "" if memory.condemned is None else memory.condemned.release
        link = self.bed.releases.current("edge")
        return (
            memory.state is State.SERVING
            and memory.operation is None
            and not driver.postponed
            and driver.serving == self.edge.serves
            and (link == self.edge.serves or self.edge.serves in {"", bad})
            and Memory.load(driver.directory) == memory
            and (self.edge.serves == self.edge.spec.release or driver.waits != "")
        )


@pytest.mark.parametrize("seed", [*range(FEW), *(pytest.param(one, marks=pytest.mark.all) for one in range(FEW, MORE))])
def test_any_life(play: Play, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("vm_agent.lifecycle.driver._ASK_SECONDS", 0.001)
    monkeypatch.setattr("vm_agent.lifecycle.work._WAY_BACK_SECONDS", 0.02)

    async def scene(bed: Bed) -> None:
        life = Life(bed, await bed.serving("1"), seed)
        for _ in range(STEPS):
            await life.step()
        life.heal()
        try:
            await bed.until(life.rests, "it is at rest")
        except AssertionError as error:
            memory = life.edge.driver.memory
            told = (life.steps, memory, life.edge.driver.serving, bed.releases.current("edge"), life.edge.driver.waits)
            raise AssertionError(f"{error}\n{told}") from None

    play(scene)
