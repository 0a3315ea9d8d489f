"""Forks: whatever a process was doing, its child counts for itself and is nobody's heir."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from shm_metrics import Process, Registry
from shm_metrics.definitions import Definitions
from shm_metrics.layout import Geometry
from shm_metrics.shape import Shape
from tests.shm_metrics.children import Child, cells, child, close, finish, joined, read, slots, value


def test_a_child_counts_from_nothing_with_what_it_has(registry: Registry) -> None:
    family = registry.counter("a_total", "A.", ("what",))
    one = family.labels("x")
    size = registry.histogram("size", "Size.", bounds=(1.0,))
    one.inc(5)
    size.observe(0.5)

    def work() -> None:
        assert (one.value, size.count) == (0.0, 0.0)
        one.inc(2)
        size.observe(2.0)
        family.labels("y").inc()
        assert read(registry) == {("a_total", "x"): 7.0, ("a_total", "y"): 1.0, ("size",): 2.5}

    assert finish(work) == 0
    one.inc()
    assert read(registry) == {("a_total", "x"): 8.0, ("a_total", "y"): 1.0, ("size",): 2.5}
    assert cells(registry, "size") == [2.5, 1.0, 1.0]


def test_children_of_children_have_slots_of_their_own(registry: Registry) -> None:
    one = registry.counter("a_total", "A.")

    def deeper(depth: int) -> Callable[[], None]:
        def work() -> None:
            one.inc()
            if depth:
                assert finish(deeper(depth - 1)) == 0
            one.inc()

        return work

    assert finish(deeper(5)) == 0
    assert value(registry, "a_total") == 12
    assert slots(registry)._segment.used() == [slots(registry).own]


def test_the_death_of_a_parent_is_noticed_while_its_child_counts(registry: Registry) -> None:
    now = registry.gauge("now", "Now.")

    def parent(me: Child) -> None:
        now.set(10)

        def work(heir: Child) -> None:
            now.set(1)
            heir.tell("set")
            heir.wait()

        heir = Child(work)
        assert heir.hear() == "set"
        me.tell(str(heir.pid))
        me.wait()

    with child(parent) as one:
        one.hear()
        assert value(registry, "now") == 11
        one.kill()
        assert value(registry, "now") <= 1  # its child sees that, and may be gone by now


def test_a_fork_while_another_thread_defines_and_counts() -> None:
    """At whatever byte code the other thread is: the child reads definitions anew, and has its own locks."""
    wide = Registry.unnamed(Geometry(slots=8, cells=2048, definitions=65536))
    family = wide.counter("a_total", "A.", ("what",))
    stop = threading.Event()
    defined = 0

    def define() -> None:
        nonlocal defined
        while not stop.is_set() and defined < 4000:
            family.labels(defined).inc()
            defined += 1

    thread = threading.Thread(target=define)
    thread.start()
    try:
        for n in range(10):
            name = f"mine_{n}_total"

            def work(name: str = name) -> None:
                wide.counter(name, "Of the child.", ("x",)).labels("y").inc(3)
                assert value(wide, name, "y") == 3
                assert wide.trouble == ""

            assert finish(work) == 0
            assert value(wide, name, "y") == 3
    finally:
        stop.set()
        thread.join()
    values = read(wide)
    assert sum(count for key, count in values.items() if key[0] == "a_total") == defined
    close(wide)


def test_a_fork_in_the_middle_of_reading_a_definition(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread: what that has read and not noted is read again by the child, and once only."""
    whole = Definitions._know
    forked: list[int] = []

    def know_and_fork(self: Definitions, shape: Shape) -> None:
        whole(self, shape)
        if not forked:
            forked.append(0)
            forked.append(finish(work))

    def work() -> None:
        registry.counter("new_total", "New.", ("what",)).labels("x").inc(2)
        registry.gauge("newer", "Newer.").set(3)
        assert registry.trouble == ""

    with joined(registry.fd) as other:
        other.counter("a_total", "A.", ("what",)).labels("y").inc()
    monkeypatch.setattr(Definitions, "_know", know_and_fork)
    registry.collect()
    assert forked == [0, 0]
    registry.maximum("most", "Most.").set(4)
    with joined(registry.fd) as other:
        assert read(other) == {("a_total", "y"): 1.0, ("most",): 4.0, ("new_total", "x"): 2.0, ("newer",): 0.0}


def test_a_child_forked_while_definitions_are_locked_defines_later(registry: Registry) -> None:
    def work(me: Child) -> None:
        registry.counter("a_total", "A.").inc()
        assert registry.trouble
        me.tell("adrift")
        me.wait()
        assert value(registry, "a_total") == 1
        assert registry.trouble == ""
        me.tell("landed")
        me.wait()

    with registry.defining():
        one = Child(work)
        assert one.hear() == "adrift"
    one.go()
    assert one.hear() == "landed"
    assert value(registry, "a_total") == 1
    one.go()
    assert one.end() == 0


def test_a_child_without_a_slot_counts_for_itself_and_in_nobody_elses_cells() -> None:
    registry = Registry.unnamed(Geometry(slots=1, cells=512, definitions=4096))
    one = registry.counter("a_total", "A.")
    one.inc(2)

    def work() -> None:
        one.inc(5)
        assert "slots are taken" in registry.trouble
        assert value(registry, "a_total") == 7
        registry.tell(Process(2))
        registry.reign()
        registry.assist()

    assert finish(work) == 0
    assert value(registry, "a_total") == 2
    assert registry.processes() == []
    close(registry)


def test_a_child_gets_a_slot_once_one_is_free() -> None:
    registry = Registry.unnamed(Geometry(slots=2, cells=512, definitions=4096))
    other = Registry.join(registry.fd)
    one = registry.counter("a_total", "A.")

    def work(me: Child) -> None:
        one.inc(5)
        me.tell("counted")
        me.wait()
        assert value(registry, "a_total") == 5
        assert registry.trouble == ""
        one.inc()
        me.tell("counted in shared memory")
        me.wait()

    with child(work) as young:
        assert young.hear() == "counted"
        assert value(registry, "a_total") == 0
        close(other)
        young.go()
        assert young.hear() == "counted in shared memory"
        assert value(registry, "a_total") == 6
    close(registry)
