"""Three machines, an agent on each: a rolling upgrade by a plain loop, stopped by the first release that is bad."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.kit.agents import fails_requests
from tests.kit.bridge import Bridge, address
from tests.kit.load import Load
from tests.kit.machine import Machine
from tests.kit.machine import needed as machine_needed
from tests.kit.stage import BREEZE, Stage, configuration
from tests.kit.vms import SOURCE, Vm, forget, release_of_machines

pytestmark = [pytest.mark.all, pytest.mark.timeout(300)]

OLD, NEW, ERRING = "1.0.0", "1.1.0", "1.2.0"
MACHINES = 3


class Fleet:
    """All of them, with upstreams and clients in a hub between."""

    def __init__(self, stage: Stage, bridge: Bridge, exits: ExitStack, source: Path) -> None:
        self._stage, self._bridge = stage, bridge
        behind = [("http", "10.78.0.254:0"), ("tcp", "10.78.0.254:0")]
        upstreams = bridge.hub.run(stage.upstreams, *behind)
        self.vms = []
        for number in range(MACHINES):
            machine = Machine(f"vm{number}", netns=bridge.path(number), binds={SOURCE: source})
            exits.enter_context(machine)
            config = configuration(f"{address(number)}:8080", f"{address(number)}:8081", upstreams)
            self.vms.append(Vm(machine, config, OLD))

    def load(self) -> list[Load]:
        """Clients of each machine."""
        plans = [
            msgspec.structs.replace(BREEZE, http=f"{address(number)}:8080", tcp=f"{address(number)}:8081")
            for number in range(MACHINES)
        ]
        return [self._bridge.hub.run(self._stage.load, plan) for plan in plans]

    def roll(self, release: str) -> list[int]:
        """One machine after the other, while it goes well; the exit codes."""
        codes = []
        for vm in self.vms:
            codes.append(vm.agent("upgrade", "edge", "--release", release).returncode)
            if codes[-1]:
                break
        return codes

    def releases(self) -> list[str]:
        return [vm.sidecar()["release"] for vm in self.vms]


@pytest.fixture
def fleet(stage: Stage) -> Iterator[Fleet]:
    machine_needed()
    source = Path(tempfile.mkdtemp(prefix="hsr", dir="/tmp"))
    try:
        for version in (OLD, NEW):
            release_of_machines(source, version)
        release_of_machines(source, ERRING, fails_requests)
        with Bridge(MACHINES) as bridge, ExitStack() as exits:
            yield Fleet(stage, bridge, exits, source)
    finally:
        forget(source)


def test_a_good_release_rolls_over_the_fleet_and_a_bad_one_stops_at_the_first_machine(fleet: Fleet) -> None:
    loads = fleet.load()
    assert fleet.roll(NEW) == [0, 0, 0]
    assert fleet.releases() == [NEW, NEW, NEW]
    for load in loads:
        assert load.finish().failures == []
    first, *others = fleet.load()
    assert fleet.roll(ERRING) == [20]
    assert fleet.releases() == [NEW, NEW, NEW]
    for load in others:
        assert load.finish().failures == []
    assert {failure.cause for failure in first.finish().failures} <= {"status"}
    told = [vm.sidecar()["condemned"] for vm in fleet.vms]
    assert [one and one["release"] for one in told] == [ERRING, None, None]
