"""A registry as a program uses it: alone, with others, and moving."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from shm_metrics import MetricsError, Process, Registry, SegmentFull, exponential
from shm_metrics.layout import LIFE, Geometry
from tests.shm_metrics.children import ROOM, SMALL, cells, close, joined, read, slots, value


@pytest.fixture(params=["private", "shared"])
def either(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """In the memory of the process, and in shared memory: a program sees no difference."""
    if request.param == "private":
        yield Registry()
    else:
        one = Registry.unnamed(ROOM)
        yield one
        close(one)


# ---- what a program does ----


def test_what_is_counted_is_read(either: Registry) -> None:
    either.counter("plain_total", "Plain.").inc(2)
    requests = either.counter("requests_total", "Requests.", ("method", "code"))
    requests.labels("GET", 200).inc()
    requests.labels("GET", "200").inc()
    requests.labels("PUT", None).inc()
    either.gauge("now", "Now.").set(3)
    most = either.maximum("most", "Most.")
    most.set(5)
    most.set(4)
    either.last("last", "Last.").set(-1)
    sizes = either.histogram("size", "Sizes.", bounds=(1.0, 2.0))
    for size in (0.5, 1.0, 1.5, 9.0):
        sizes.observe(size)
    collected = {one.shape.name: one for one in either.collect()}
    assert [*collected] == ["last", "most", "now", "plain_total", "requests_total", "size"]
    assert [*collected["requests_total"].members] == [(("GET", "200"), [2.0]), (("PUT", "None"), [1.0])]
    assert {name: one.members[0].cells for name, one in collected.items() if name != "requests_total"} == {
        "last": [-1.0],
        "most": [5.0],
        "now": [3.0],
        "plain_total": [2.0],
        "size": [12.0, 2.0, 1.0, 1.0],
    }


def test_a_family_without_members_is_not_there(either: Registry) -> None:
    either.counter("requests_total", "Requests.", ("code",))
    assert either.collect() == []


def test_defining_again_continues(either: Registry) -> None:
    one = either.counter("a_total", "A.")
    assert either.counter("a_total", "A.") is one
    family = either.gauge("now", "Now.", ("what",))
    assert either.gauge("now", "Now.", ("what",)) is family
    assert family.labels("x") is family.labels("x")
    assert family.members() == [(("x",), family.labels("x"))]


@pytest.mark.parametrize(
    ("define", "problem"),
    [
        (lambda one: one.counter("requests", "No _total."), "should end in _total"),
        (lambda one: one.counter("a b_total", "No name."), "is no name"),
        (lambda one: one.gauge("now", "A label twice.", ("a", "a")), "are no labels"),
        (lambda one: one.histogram("size", "Falls.", bounds=(2.0, 1.0)), "bounds of buckets ascend"),
        (lambda one: one.gauge("here", "Otherwise."), "is defined already, and otherwise"),
        (lambda one: one.gauge("here", "Here.", ("a",)), "is defined already, and otherwise"),
        (lambda one: one.counter("labelled_total", "Labelled.", ("a",)).labels(), "does not fit"),
        (lambda one: one.counter("labelled_total", "Labelled.", ("a",)).labels("a", "b"), "does not fit"),
    ],
)
def test_what_cannot_be_defined(either: Registry, define: Callable[[Registry], object], problem: str) -> None:
    either.maximum("here", "Here.")
    with pytest.raises(ValueError, match=problem):
        define(either)


def test_labels_of_any_text_are_kept(either: Registry) -> None:
    family = either.counter("a_total", "A.", ("what",))
    for label in ("", 'é\n"\\', "\0", "x" * 500, "\ud800", "🦆"):
        family.labels(label).inc()
    shown = [labels[0] for _, *labels in read(either)]
    assert shown == ["", 'é\n"\\', "\0", "x" * 200, "?", "🦆"]


def test_removed_members_are_hidden_and_go_on_when_asked_for(either: Registry) -> None:
    family = either.counter("a_total", "A.", ("what",))
    held = family.labels("x")
    held.inc(2)
    family.labels("y").inc()
    family.remove("x")
    assert read(either) == {("a_total", "y"): 1.0}
    held.inc()
    family.labels("x").inc()
    assert value(either, "a_total", "x") == 4
    family.remove("never there")
    assert len(read(either)) == 2


def test_retain_hides_all_others(either: Registry) -> None:
    family = either.counter("a_total", "A.", ("what",))
    for n in range(4):
        family.labels(n).inc()
    either.gauge("now", "Now.").set(1)
    assert either.retain(lambda shape, values: shape.name == "now" or values == ("2",)) == 3
    assert read(either) == {("a_total", "2"): 1.0, ("now",): 1.0}
    assert either.retain(lambda *_: True) == 0
    family.labels(3).inc()
    assert value(either, "a_total", "3") == 2


# ---- several processes ----


def test_each_process_counts_for_itself_and_all_are_read(registry: Registry) -> None:
    one = registry.counter("a_total", "A.")
    one.inc(1)
    with joined(registry.fd) as other:
        mine = other.counter("a_total", "A.")
        mine.inc(2)
        assert (one.value, mine.value) == (1.0, 2.0)
        assert read(registry) == read(other) == {("a_total",): 3.0}
    assert value(registry, "a_total") == 3


def test_each_version_is_shown_its_own_shape(registry: Registry) -> None:
    registry.counter("a_total", "A.", ("old",)).labels("x").inc()
    with joined(registry.fd) as other:
        other.counter("a_total", "A, and better.", ("new", "more")).labels("y", "z").inc(2)
        assert read(other) == {("a_total", "y", "z"): 2.0}
        assert read(registry) == {("a_total", "x"): 1.0}
    with joined(registry.fd) as reader:  # one that defines none of them sees what was defined last
        assert read(reader) == {("a_total", "y", "z"): 2.0}


def test_one_hides_what_others_count_in(registry: Registry) -> None:
    held = registry.counter("a_total", "A.", ("what",)).labels("x")
    with joined(registry.fd) as other:
        other.retain(lambda *_: False)
        held.inc()
        assert read(registry) == {}
        other.counter("a_total", "A.", ("what",)).labels("x").inc()
        assert value(registry, "a_total", "x") == 2


def test_maximum_and_last_outlive_their_processes(registry: Registry) -> None:
    registry.maximum("most", "Most.").set(3)
    registry.last("last", "Last.").set(10)
    for most, last in ((5, 20), (4, 30)):
        with joined(registry.fd) as other:
            other.maximum("most", "Most.").set(most)
            other.last("last", "Last.").set(last)
            assert value(registry, "last") == last
    assert read(registry) == {("most",): 5.0, ("last",): 30.0}
    registry.last("last", "Last.").set(40)
    assert value(registry, "last") == 40


def test_processes_tell(registry: Registry, either: Registry) -> None:
    assert either.processes() in ([], [Process()])
    either.tell(Process(3, 1.0, 2.0, 3.0, 4.0, 5.0))
    assert either.processes() == [Process(3, 1.0, 2.0, 3.0, 4.0, 5.0)]


def test_alone_until_another_comes(registry: Registry) -> None:
    assert Registry().alone
    assert registry.alone
    with joined(registry.fd) as other:
        assert (registry.alone, other.alone) == (False, False)
    assert registry.alone


# ---- moves ----


def test_what_was_counted_moves_along(registry: Registry) -> None:
    moving = Registry()
    held = moving.counter("a_total", "A.", ("what",)).labels("x")
    held.inc(2)
    moving.gauge("now", "Now.").set(3)
    moving.maximum("most", "Most.").set(4)
    moving.last("last", "Last.").set(5)
    size = moving.histogram("size", "Size.", bounds=(1.0,))
    size.observe(0.5)
    hidden = moving.counter("a_total", "A.", ("what",))
    hidden.labels("hidden").inc(7)
    hidden.remove("hidden")
    registry.counter("a_total", "A.", ("what",)).labels("x").inc(10)
    registry.maximum("most", "Most.").set(9)
    before = read(moving)
    moving.move_into(registry.fd)
    assert read(moving) == {**before, ("a_total", "x"): 12.0, ("most",): 9.0}
    held.inc()
    size.observe(0.5)
    assert value(registry, "a_total", "x") == 13
    assert cells(registry, "size") == [1.0, 2.0, 0.0]
    hidden.labels("hidden").inc()
    assert value(registry, "a_total", "hidden") == 8
    with pytest.raises(MetricsError, match="in shared memory already"):
        moving.move_off(SMALL)
    close(moving)


def test_a_move_that_is_refused_changes_nothing(registry: Registry) -> None:
    moving = Registry()
    one = moving.counter("a_total", "A.")
    one.inc(2)
    for n in range(7):
        assert slots(registry)._segment.locks.take(LIFE + n + 1)
    full = Registry.unnamed(Geometry(slots=1, cells=512, definitions=4096))
    with pytest.raises(SegmentFull):
        moving.move_into(full.fd)
    with pytest.raises(MetricsError):
        moving.move_into(0)
    one.inc()
    assert (value(moving, "a_total"), moving.fd, moving.trouble) == (3.0, -1, "")
    moving.move_off(SMALL)
    assert value(moving, "a_total") == 3
    close(moving)
    close(full)


def test_threads_go_on_counting_while_it_moves() -> None:
    moving = Registry()
    one = moving.counter("a_total", "A.")
    ready = threading.Barrier(3)

    def count() -> None:
        ready.wait()
        for _ in range(50000):
            one.inc()

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    moving.move_off(SMALL)
    for thread in threads:
        thread.join()
    assert value(moving, "a_total") == 100000
    close(moving)


def test_a_registry_that_nobody_has_costs_no_fork() -> None:
    from shm_metrics import registry as module

    one = Registry()
    assert one in module._forking
    del one
    gc.collect()
    assert all(isinstance(other, Registry) for other in module._forking)


def test_bounds_of_buckets() -> None:
    assert exponential(0.001, 2, 4) == (0.001, 0.002, 0.004, 0.008)
    for wrong in ((0, 2, 3), (1, 1, 3), (1, 2, 0), (1, 2, 201)):
        with pytest.raises(ValueError, match="no buckets"):
            exponential(*wrong)


def test_who_sees_that_a_gauge_was_set_sees_its_value(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two cells are copied one after the other, and it may be set in between."""
    gauge = registry.last("number", "The last one.")

    def torn(found: Iterable[float]) -> list[float]:
        before = [*found]
        gauge.set(7.0)
        return [old if new == 7.0 else new for old, new in zip(before, found, strict=True)]

    monkeypatch.setattr("shm_metrics.slots.numbers", torn)
    assert value(registry, "number") == 7.0
