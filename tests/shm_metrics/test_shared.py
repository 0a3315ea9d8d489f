"""Whatever is in the way of keeping metrics: a program counts on, reads what it counted, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

from shm_metrics import MetricsError, Process, Registry
from shm_metrics.locks import PATIENCE
from tests.shm_metrics.children import SMALL, Child, cells, child, close, joined, read, slots, value

T = TypeVar("T")


def test_a_stopped_holder_of_the_lock_stops_nobody(registry: Registry) -> None:
    counted = registry.counter("a_total", "A.")

    def hold(me: Child) -> None:
        with slots(registry)._segment.locked():
            me.tell("held")
            me.wait()
        me.tell("released")
        me.wait()

    with child(hold) as holder:
        assert holder.hear() == "held"
        holder.stop()
        counted.inc()
        late = registry.counter("late_total", "Late.", ("what",))
        for n in range(50):  # does not wait for the lock each time: that would be ten seconds
            late.labels(n % 10).inc()
        registry.gauge("now", "Now.").set(3)
        registry.histogram("size", "Size.", bounds=(1.0,)).observe(0.5)
        counted.inc()
        assert "holds the lock" in registry.trouble
        assert value(registry, "a_total") == 2
        assert value(registry, "late_total", "7") == 5
        assert (value(registry, "now"), cells(registry, "size")) == (3.0, [0.5, 1.0, 0.0])
        holder.resume()
        holder.go()
        assert holder.hear() == "released"
        late.labels(7).inc()
        assert value(registry, "late_total", "7") == 6
        assert registry.trouble == ""
        with joined(registry.fd) as other:
            assert read(other) == read(registry)
            assert sum(count for key, count in read(other).items() if key[0] == "late_total") == 51


def test_a_stopped_holder_hides_no_dead(registry: Registry) -> None:
    """They cannot be folded, and are read all the same."""

    def hold(me: Child) -> None:
        with slots(registry)._segment.locked():
            me.tell("held")
            me.wait()

    other = Registry.join(registry.fd)
    other.counter("a_total", "A.").inc(4)
    other.gauge("now", "Now.").set(4)
    with child(hold) as holder:
        assert holder.hear() == "held"
        holder.stop()
        close(other)
        assert [read(registry) for _ in range(2)] == [{("a_total",): 4.0, ("now",): 0.0}] * 2


def test_what_is_adrift_is_added_to_what_others_have(registry: Registry) -> None:
    with joined(registry.fd) as other:
        other.counter("a_total", "A.").inc(1)
        other.gauge("now", "Now.").set(2)
        other.maximum("most", "Most.").set(3)
        other.last("last", "Last.").set(4)
        other.histogram("size", "Size.", bounds=(1.0,)).observe(5)
        with slots(other)._segment.locked():
            registry.counter("b_total", "B.").inc()  # adrift: nobody has defined it
            assert registry.trouble
            late = Registry.unnamed(SMALL)
            close(late)
        registry.collect()
    with joined(registry.fd) as other:
        with slots(other)._segment.locked():
            other.counter("c_total", "C.").inc(1)
            other.gauge("d", "D.").set(2)
            other.maximum("e", "E.").set(3)
            other.last("f", "F.").set(4)
            other.histogram("g", "G.", bounds=(1.0,)).observe(5)
            registry.counter("c_total", "C.").inc(10)
            registry.gauge("d", "D.").set(20)
            registry.maximum("e", "E.").set(2)
            registry.last("f", "F.").set(40)
            registry.histogram("g", "G.", bounds=(1.0,)).observe(0.5)
            shown = read(registry)
            assert registry.trouble
        assert [shown[name,] for name in ("c_total", "d", "e", "f", "g")] == [11.0, 22.0, 3.0, 40.0, 5.5]
        assert read(registry) == shown == read(other)
        assert registry.trouble == ""


def outcome(steps: Generator[None, None, T]) -> T:
    """What they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def test_what_lands_while_somebody_collects_in_steps_is_collected_once(registry: Registry) -> None:
    family = registry.counter("a_total", "A.", ("what",))
    family.labels("x").inc()
    with joined(registry.fd) as other:
        with slots(other)._segment.locked():
            family.labels("y").inc(2)
            steps = registry.collecting()
            next(steps)
        other.counter("a_total", "A.", ("what",)).labels("y").inc(5)
        assert value(registry, "a_total", "y") == 7
        family.labels("z").inc()
        ((_, members),) = outcome(steps)
        assert members == [(("x",), [1.0]), (("y",), [2.0])]


def test_hidden_while_adrift_and_still_not_lost(registry: Registry) -> None:
    with joined(registry.fd) as other:
        family = registry.counter("a_total", "A.", ("what",))
        with slots(other)._segment.locked():
            family.labels("x").inc(2)
            family.labels("y").inc(1)
            family.remove("x")
            assert read(registry) == {("a_total", "y"): 1.0}
            assert registry.retain(lambda _, values: values == ("x",)) == 1
            family.labels("y").inc(1)
        assert read(registry) == read(other) == {("a_total", "y"): 2.0}
        family.labels("x").inc()
        assert value(other, "a_total", "x") == 3


def test_who_closed_all_descriptors_counts_on(registry: Registry) -> None:
    """As programs do that become daemons after they have opened their metrics."""

    def work(me: Child) -> None:
        one = Registry.join(registry.fd)
        counted = one.counter("a_total", "A.")
        one.gauge("now", "Now.").set(7)
        me.close_all()
        again = os.memfd_create("another")
        while again < 60:
            again = os.memfd_create("another")
        counted.inc(2)
        one.counter("new_total", "New.").inc()
        assert "closed its descriptor" in one.trouble
        assert one.fd == -1
        one.unlink()
        values = read(one)
        assert (values["a_total",], values["new_total",], values["now",]) == (2.0, 1.0, 7.0)
        one.tell(Process(5))
        assert all(os.fstat(fd).st_size == 0 for fd in (again, again - 1, again - 2))
        me.tell("counted")
        me.wait()

    with child(work) as one:
        assert one.hear() == "counted"
        assert (value(registry, "a_total"), value(registry, "now")) == (2.0, 7.0)
        assert [process.number for process in registry.processes()] == [5]
        one.kill()
        assert (value(registry, "a_total"), value(registry, "now")) == (2.0, 0.0)


def test_definitions_that_are_damaged_later_stop_nobody(registry: Registry) -> None:
    counted = registry.counter("a_total", "A.")
    counted.inc()
    block = slots(registry)._segment.blocks()[0]
    end = block.words[0]
    block.text[end : end + 40] = b"\xff" * 40
    block.words[0] = end + 40
    registry.counter("b_total", "B.").inc(2)
    counted.inc()
    assert read(registry) == {("a_total",): 2.0, ("b_total",): 2.0}
    assert "a definition is damaged" in registry.trouble
    with pytest.raises(MetricsError, match="damaged"):
        Registry.join(registry.fd)


def test_labels_without_end_fill_it_and_stop_nobody(registry: Registry) -> None:
    tight = Registry.unnamed(SMALL)
    family = tight.counter("a_total", "A.", ("what",))
    from shm_metrics import layout

    most = layout.MOST_BLOCKS
    layout.MOST_BLOCKS = 2  # type: ignore[misc]
    try:
        for n in range(400):
            family.labels(n).inc()
        assert "cannot have more" in tight.trouble
        assert len(read(tight)) == 400
        assert all(count == 1.0 for count in read(tight).values())
    finally:
        layout.MOST_BLOCKS = most  # type: ignore[misc]
    tight.collect()
    assert tight.trouble == ""
    close(tight)


def test_a_wait_is_short() -> None:
    assert PATIENCE <= 0.2
