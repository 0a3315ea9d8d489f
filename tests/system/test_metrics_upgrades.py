"""What a proxy counts of its upgrades: told right after each step of a life, whichever way it went."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hotswap import __version__
from tests.kit.client import Client
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, Instance
from tests.kit.scraper import Values, ask, read, total
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually

DOWNTIME = "hotswap_handover_downtime_seconds"


@pytest.fixture
def edge(stage: Stage) -> Edge:
    return stage.edge(admin=loopback())


@pytest.fixture
def relayed(edge: Edge) -> Iterator[Client]:
    """A connection that moves in every upgrade, and with it the one to its endpoint."""
    with Client(edge.raw) as client:
        assert edge.instance.status().connections == 2
        yield client


class Life:
    """What is expected of the figures so far."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.generation = 1
        self.told: dict[tuple[str, str], int] = {}
        self.goodbyes = 0
        self.thaws = 0
        self.moved = 0

    def owned(self, how: str = "upgrade") -> None:
        """Another generation owns, with one relay."""
        self.generation += 1
        self.goodbyes += 1
        self.moved += 1
        self._tell(how, "owned")

    def failed(self, how: str = "upgrade", *, thawed: bool = False) -> None:
        """This one serves on."""
        self.thaws += thawed
        self._tell(how, "failed")

    def _tell(self, how: str, outcome: str) -> None:
        self.told[how, outcome] = self.told.get((how, outcome), 0) + 1

    def check(self) -> None:
        """It is so."""
        growing, other = scraped(self.instance)
        assert total(other, "hotswap_generation") == self.generation == self.instance.status().generation
        assert total(other, "hotswap_generations") == 1
        for how in ("upgrade", "takeover", "rollback", "crash"):
            for outcome in ("owned", "failed"):
                counted = total(growing, "hotswap_upgrades_total", how=how, outcome=outcome)
                assert counted == self.told.get((how, outcome), 0), (how, outcome)
        assert total(growing, f"{DOWNTIME}_count") == self.goodbyes
        downtime = total(growing, f"{DOWNTIME}_sum")
        assert downtime == pytest.approx(total(growing, "hotswap_handover_phase_seconds_total"))
        assert downtime > 0.0 or not self.goodbyes
        assert total(growing, "hotswap_handover_thaws_total") == self.thaws
        for kind in ("tcp.downstream", "tcp.upstream"):
            assert total(growing, "hotswap_handover_moved_total", kind=kind) == self.moved
        assert total(growing, "hotswap_handover_not_moved_total") == 0
        builds = [series for series in other if series.startswith("hotswap_build_info")]
        assert len(builds) == 1
        assert f'version="{__version__}"' in builds[0]
        assert other[builds[0]] == 1


def scraped(instance: Instance) -> tuple[Values, Values]:
    """What only grows, and what is now."""
    return read(ask(str(instance.config["admin"])))


def test_the_figures_are_right_after_every_step(edge: Edge, relayed: Client) -> None:
    instance, life = edge.instance, Life(edge.instance)
    life.check()
    for _ in range(3):
        assert instance.upgrade("--require-all").exit_code == 0
        life.owned()
        life.check()

    instance.arm("destination.send_round_done.before:kill")
    assert instance.upgrade().exit_code != 0
    life.failed()
    life.check()

    instance.arm("destination.send_prepared.before:kill")
    assert instance.upgrade().exit_code != 0
    life.failed(thawed=True)
    life.check()
    instance.disarm()

    assert instance.upgrade(command=["false"]).exit_code != 0
    life.failed()
    assert instance.upgrade("--dry-run").exit_code == 0
    life.check()

    assert instance.hotswap("rollback", instance.name).returncode == 0
    life.owned("rollback")
    life.check()

    instance.start("--takeover=require")
    life.owned("takeover")
    life.check()

    # It owned, and counted so; then it died, and the one before serves on without the connections.
    instance.arm("destination.start.after:kill")
    assert instance.upgrade().exit_code != 0
    instance.disarm()
    life.owned()
    life.generation -= 1
    life.goodbyes -= 1
    life.failed()
    life.check()


def test_a_source_that_dies_is_survived_and_told_of(edge: Edge, relayed: Client) -> None:
    """With everything there it is an upgrade without a goodbye; before that it is a crash, and nothing moved."""
    instance, life = edge.instance, Life(edge.instance)
    for point, how, moved in (("source.send_bye.before", "takeover", 1), ("source.copy_round.before", "crash", 0)):
        instance.arm(f"{point}:kill")
        instance.wait_served_by(instance.launch("--takeover=require"))
        instance.disarm()
        life.owned(how)
        life.goodbyes -= 1
        life.moved -= 1 - moved
        life.check()


def test_what_stays_is_counted_by_its_reason_and_its_generation_as_long_as_it_drains(
    edge: Edge, relayed: Client
) -> None:
    instance = edge.instance
    instance.config["listeners"] = [one for one in instance.config["listeners"] if one["name"] != "raw"]
    instance.write_config()
    done = instance.upgrade()
    assert done.exit_code == 0, done.text
    assert [one["count"] for one in done.result["kept"]] == [2]

    def both() -> tuple[Values, Values] | None:
        growing, other = scraped(instance)
        return (growing, other) if total(other, "hotswap_generations") == 2 else None

    found = eventually(both, within=PATIENCE, what="the source counts what it kept")
    assert found is not None
    growing, other = found
    assert total(growing, "hotswap_handover_not_moved_total", reason="removed_listener") == 2
    assert total(growing, "hotswap_handover_not_moved_total") == 2
    assert total(growing, "hotswap_handover_moved_total") == 0
    assert total(other, "hotswap_downstream_connections_active") == 1
    assert len([one for one in other if one.startswith("hotswap_build_info")]) == 1
    for generation in ("1", "2"):
        assert total(other, "process_cpu_seconds_total", generation=generation) > 0
        assert total(other, "process_resident_memory_bytes", generation=generation) > 1 << 20
        most = total(other, "process_max_fds", generation=generation)
        assert 5 < total(other, "process_open_fds", generation=generation) < most
        assert total(other, "process_start_time_seconds", generation=generation) > 1.7e9

    def alone() -> bool:
        _, other = scraped(instance)
        return total(other, "hotswap_generations") == 1 and not total(other, "process_open_fds", generation="1")

    relayed.end_sending()
    eventually(alone, within=PATIENCE, what="the source has ended")
