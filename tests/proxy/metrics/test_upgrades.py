"""What is counted of upgrades: told in the words of `Swappable`, read as a monitoring system reads it."""

from __future__ import annotations

import pytest

from hotswap.swappable import OTHER, REFUSED, STRAGGLERS, Reason, Took
from proxy.metrics.upgrades import BUILD, HOWS, LOST, PHASES, REASONS, Upgrades
from proxy.protocols import KINDS
from proxy.staying import NO_TLS, SURPLUS
from shm_metrics import Registry
from tests.proxy.relays import TWO, relay
from tests.proxy.simulation import World

OLD, NEW = ("1.0", "1.0+a"), ("1.1", "1.1+b")
GOODBYE = Took(0.0025, {"copy": 0.0015, "check": 0.001, "byte": 0.0}, {"removed_listener": 2, STRAGGLERS: 1}, lost=1)

Figures = dict[tuple[str, ...], float]


def figures(registry: Registry) -> Figures:
    """What readers see, by name and values of labels; of a histogram the sum."""
    return {
        (family.shape.name, *member.values): member.cells[0]
        for family in registry.collect()
        for member in family.members
    }


def changed(before: Figures, after: Figures) -> Figures:
    """What is different, or new."""
    return {what: value for what, value in after.items() if before.get(what) != value}


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def upgrades(registry: Registry) -> Upgrades:
    return Upgrades(registry, OLD)


def test_everything_is_there_from_the_beginning(registry: Registry, upgrades: Upgrades) -> None:
    """Else the first of each would be no increase: a series that appears at 1 was never seen at 0."""
    seen = figures(registry)
    assert {*seen.values()} == {0.0}
    for how in HOWS:
        assert {("hotswap_upgrades_total", how, "owned"), ("hotswap_upgrades_total", how, "failed")} <= seen.keys()
    assert ("hotswap_upgrades_total", "crash", "owned") in seen
    for name, words in (("moved", KINDS), ("not_moved", REASONS), ("phase_seconds", PHASES)):
        assert {(f"hotswap_handover_{name}_total", word) for word in words} <= seen.keys()


def test_a_cold_start_is_no_upgrade(registry: Registry, upgrades: Upgrades) -> None:
    before = figures(registry)
    upgrades.owning(1, "cold", {})
    assert changed(before, figures(registry)) == {("hotswap_generation",): 1.0, ("hotswap_generations",): 1.0}


@pytest.mark.parametrize("how", [*HOWS, "crash"])
def test_a_generation_that_owns_counts_how_and_what_came(registry: Registry, upgrades: Upgrades, how: str) -> None:
    before = figures(registry)
    upgrades.owning(7, how, {"tcp.downstream": 3})
    assert changed(before, figures(registry)) == {
        ("hotswap_generation",): 7.0,
        ("hotswap_generations",): 1.0,
        ("hotswap_upgrades_total", how, "owned"): 1.0,
        ("hotswap_handover_moved_total", "tcp.downstream"): 3.0,
    }


def test_the_goodbye_of_the_source_counts_its_times_and_what_did_not_come(
    registry: Registry, upgrades: Upgrades
) -> None:
    upgrades.owning(2, "upgrade", {"tcp.downstream": 3})
    before = figures(registry)
    upgrades.took_over(GOODBYE, {"tcp.downstream": 1})
    assert changed(before, figures(registry)) == {
        ("hotswap_handover_downtime_seconds",): 0.0025,
        ("hotswap_handover_phase_seconds_total", "copy"): 0.0015,
        ("hotswap_handover_phase_seconds_total", "check"): 0.001,
        ("hotswap_handover_moved_total", "tcp.downstream"): 4.0,
        ("hotswap_handover_not_moved_total", "removed_listener"): 2.0,
        ("hotswap_handover_not_moved_total", STRAGGLERS): 1.0,
        ("hotswap_handover_not_moved_total", LOST): 1.0,
    }


def test_the_goodbye_of_an_older_source_counts_what_it_says(registry: Registry, upgrades: Upgrades) -> None:
    before = figures(registry)
    upgrades.took_over(Took(0.5, {}, {}), {})
    assert changed(before, figures(registry)) == {("hotswap_handover_downtime_seconds",): 0.5}


@pytest.mark.parametrize(("thawed", "thaws"), [(False, 0.0), (True, 1.0)])
def test_a_failed_attempt_counts_where_it_failed(
    registry: Registry, upgrades: Upgrades, thaws: float, *, thawed: bool
) -> None:
    upgrades.kept_on("rollback", thawed=thawed)
    seen = figures(registry)
    assert seen["hotswap_upgrades_total", "rollback", "failed"] == 1.0
    assert seen["hotswap_handover_thaws_total",] == thaws


def test_the_words_of_reasons_are_known() -> None:
    world = World(TWO)
    relay(world, "cache")
    world.proxy.agree({}, {"127.0.0.1:5432"})
    words = {reason.word for reason in world.proxy.staying().values() if isinstance(reason, Reason)}
    assert words == {"removed_listener"}
    assert {*words, NO_TLS.word, SURPLUS.word, REFUSED, STRAGGLERS, OTHER} == {*REASONS} - {LOST}


# -- generations that share a segment --------------------------------------------------------------------------------


def test_counts_go_on_and_the_generation_is_that_of_the_last_owner() -> None:
    one = Registry.unnamed()
    first = Upgrades(one, OLD)
    first.owning(1, "cold", {})
    one.reign()
    first.kept_on("upgrade", thawed=True)
    two = Registry.join(one.fd)
    second = Upgrades(two, NEW)
    assert figures(one) == figures(two)
    assert figures(two)["hotswap_generation",] == 1.0, "who does not own says nothing"
    second.owning(2, "upgrade", {"tcp.downstream": 5})
    two.reign()
    second.took_over(GOODBYE, {})
    seen = figures(two)
    assert seen["hotswap_generation",] == 2.0
    assert seen["hotswap_generations",] == 1.0
    assert (
        seen["hotswap_upgrades_total", "upgrade", "owned"] == seen["hotswap_upgrades_total", "upgrade", "failed"] == 1
    )
    one.assist()
    assert figures(two)["hotswap_generations",] == 2.0, "one that drains what it kept"


def test_a_source_that_serves_on_owns_again() -> None:
    one = Registry.unnamed()
    first = Upgrades(one, OLD)
    first.owning(1, "cold", {})
    second = Upgrades(Registry.join(one.fd), NEW)
    second.owning(2, "upgrade", {})
    first.again()
    one.reign()
    assert figures(one)["hotswap_generation",] == 1.0


def test_who_never_owned_is_not_back_again() -> None:
    registry = Registry()
    upgrades = Upgrades(registry, OLD)
    upgrades.again()
    assert figures(registry)["hotswap_generation",] == 0.0


def builds(registry: Registry) -> set[tuple[str, ...]]:
    """The labels of those that are shown."""
    return {what[1:] for what in figures(registry) if what[0] == BUILD}


def test_readers_see_the_code_of_the_owner_and_no_other() -> None:
    one = Registry.unnamed()
    two = Registry.join(one.fd)
    first, second = Upgrades(one, OLD), Upgrades(two, NEW)
    assert builds(one) == set()
    for upgrades, build in ((first, OLD), (second, NEW), (first, OLD)):
        upgrades.show_build()
        assert builds(one) == builds(two) == {build}
        assert figures(one)[BUILD, *build] == 1.0


# -- a proxy ---------------------------------------------------------------------------------------------------------


def moved(world: World) -> dict[str, float]:
    """What moved, by kind."""
    seen = figures(world.proxy.metrics)
    return {what[1]: value for what, value in seen.items() if what[0] == "hotswap_handover_moved_total" and value}


def test_connections_that_came_are_counted_by_kind_once_this_generation_owns() -> None:
    world = World(TWO)
    relay(world)
    relay(world)
    world.move()
    assert moved(world) == {}
    world.proxy.owning(2, "upgrade")
    assert moved(world) == {"tcp.downstream": 2.0, "tcp.upstream": 2.0}
    world.proxy.took_over(GOODBYE)
    assert moved(world) == {"tcp.downstream": 2.0, "tcp.upstream": 2.0}, "each once"


def test_a_connection_that_closed_while_copying_did_not_move() -> None:
    world = World(TWO)
    client, server = relay(world)
    relay(world)

    def end() -> None:
        client.fin()
        server.fin()
        world.settle()

    world.move(meanwhile=end)
    world.proxy.owning(2, "upgrade")
    assert moved(world) == {"tcp.downstream": 1.0, "tcp.upstream": 1.0}


def test_what_was_restored_for_nothing_did_not_move() -> None:
    world = World(TWO)
    relay(world)
    world.move()
    world.proxy.owning(2, "crash")
    world.proxy.took_over(Took(0.0, {}, {}))
    assert moved(world) == {}


def test_the_code_that_owns_is_shown_with_the_gauges_and_anew_after_taking_back() -> None:
    world = World(TWO)
    assert builds(world.proxy.metrics) == set()
    for _ in world.proxy.gauges.refresh(owns=True):
        pass
    assert builds(world.proxy.metrics) == {("", "")}
    world.proxy.metrics.retain(lambda shape, _values: shape.name != BUILD)  # by the next one, which dies
    for _ in world.proxy.gauges.refresh(owns=True):
        pass
    assert builds(world.proxy.metrics) == set(), "nobody looks at everything each time"
    world.proxy.abandon()
    for _ in world.proxy.gauges.refresh(owns=True):
        pass
    assert builds(world.proxy.metrics) == {("", "")}
