"""Copies made in rounds while serving: what changed is counted as changed, and the sum of the rounds is the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotswap.errors import CannotRestore
from hotswap.swappable import Saved
from proxy.http1.state import DownstreamState
from proxy.http1.states import Step
from tests.proxy.http1.scene import GET, exchange, web
from tests.proxy.http1.test_states import DISTURBANCES, Pair
from tests.proxy.simulation import World

if TYPE_CHECKING:
    from proxy.server import ProxyServer
    from tests.proxy.simulation import SimulatedKernel


class Rounds:
    """A destination that is sent what is new, what changed and what ended since the last round, and nothing else."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel: SimulatedKernel = world._boot()
        self.destination: ProxyServer = world._proxy(self.kernel)
        self.copied: dict[int, int] = {}

    def copy(self) -> None:
        here, there = self.world.kernel.clock(), self.kernel.clock()
        values = self.world.proxy.values()
        for serial in [serial for serial in self.copied if serial not in values]:
            del self.copied[serial]
            self.destination.forget(serial)
        for serial, value in values.items():
            if self.copied.get(serial) != value.changes:
                new = serial not in self.copied
                fd = self.kernel.install(self.world.kernel.socket(value.fd)) if new else -1
                self.copied[serial] = value.changes
                self.destination.restore(Saved(value.kind, serial, value.changes, value.save(here), fd), there)

    def check(self) -> None:
        """The last round was the freeze."""
        source, destination = self.world.proxy, self.destination
        destination.restore_shared(source.save_shared(self.world.kernel.clock()), self.kernel.clock())
        assert states(destination, self.kernel.clock()) == states(source, self.world.kernel.clock())
        assert destination.status()["clusters"] == source.status()["clusters"]
        assert destination.in_flight() == source.in_flight()


def states(proxy: ProxyServer, now: float) -> dict[int, object]:
    """By serial; the two clocks differ, so remaining times do in their last bits."""

    def rounded(value: object) -> object:
        if isinstance(value, float):
            return round(value, 6)
        return [rounded(one) for one in value] if isinstance(value, list) else value

    return {serial: rounded(msgspec.msgpack.decode(value.save(now))) for serial, value in proxy.values().items()}


@pytest.mark.parametrize("step", list(Step), ids=lambda step: step.name)
@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_every_change_is_counted(step: Step, disturbance: str) -> None:
    world = World(web())
    pair = Pair(world, step)
    rounds = Rounds(world)
    rounds.copy()
    DISTURBANCES[disturbance](pair)
    rounds.copy()
    rounds.check()


TOGETHER = [step for step in Step if step is not Step.DELAY]  # its filter would delay the others, too


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(st.sampled_from(TOGETHER), min_size=1, max_size=3),
    script=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*DISTURBANCES, "copy", "copy"])), max_size=15),
)
def test_rounds_amount_to_one_copy_at_the_freeze(steps: list[Step], script: list[tuple[int, str]]) -> None:
    world = World(web())
    pairs = [Pair(world, step) for step in steps]
    rounds = Rounds(world)
    for which, action in script:
        if action == "copy":
            rounds.copy()
        else:
            DISTURBANCES[action](pairs[which % len(pairs)])
    rounds.copy()
    rounds.check()


def test_state_of_a_step_that_this_version_does_not_know_is_refused() -> None:
    world = World(web())
    client, _ = exchange(world, GET)
    serial, value = next(iter(world.proxy.values().items()))
    state = msgspec.msgpack.decode(value.save(0.0))
    state[DownstreamState.__struct_fields__.index("step")] = 99
    kernel = world._boot()
    fd = kernel.install(client)
    with pytest.raises(CannotRestore, match="malformed"):
        world._proxy(kernel).restore(Saved(value.kind, serial, 1, msgspec.msgpack.encode(state), fd), 0.0)


def test_request_whose_cluster_is_gone_is_refused() -> None:
    world = World(web())
    client, _ = exchange(world, GET)
    serial, value = next(iter(world.proxy.values().items()))
    kernel = world._boot()
    world.config = msgspec.structs.replace(world.config, clusters=world.config.clusters[1:])
    with pytest.raises(CannotRestore, match="'app' is not in the new configuration"):
        world._proxy(kernel).restore(Saved(value.kind, serial, 1, value.save(0.0), kernel.install(client)), 0.0)
