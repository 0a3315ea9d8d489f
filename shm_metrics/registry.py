"""Named and labelled metrics: what a program defines, counts with, and reads.

    metrics = Registry()                                        # in memory, for this process alone
    metrics = Registry.open("shop")                             # in shared memory, see `shm_metrics.segment`
    requests = metrics.counter("shop_requests_total", "Requests answered.", ("method", "code"))
    requests.labels("GET", "200").inc()
    for family in metrics.collect(): ...

Define what you can before you count: `labels` looks a member up in 0.2 us, so hot paths keep what it returned.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Generator, Iterator
from threading import RLock
from typing import Any, Final, Generic, Self, TypeVar, overload

from shm_metrics import memory, names
from shm_metrics.cells import Counter, Gauge, Histogram, Last, Maximum, metric
from shm_metrics.errors import MetricsError
from shm_metrics.layout import Geometry
from shm_metrics.segment import Segment
from shm_metrics.shape import Shape, exponential, fitting
from shm_metrics.shared import TROUBLE, Shared
from shm_metrics.slots import Process
from shm_metrics.store import Collected, Private, Store

T = TypeVar("T", Counter, Gauge, Histogram, Maximum, Last)

BOUNDS = exponential(0.0001, 2, 18)
"""Seconds: 0.1 ms to 13 s."""


class Family(Generic[T]):
    """All metrics of one name, told apart by the values of their labels."""

    __slots__ = ("_members", "_registry", "shape")

    def __init__(self, registry: Registry, shape: Shape) -> None:
        self.shape = shape
        self._registry = registry
        self._members: dict[tuple[object, ...], T] = {}

    def labels(self, *values: object) -> T:
        """The member with these values, in the order of the labels. Raises ValueError for a wrong number of them."""
        member = self._members.get(values)
        if member is None:
            member = self._members[values] = self._registry.member(self.shape, fitting(self.shape, values))
        return member

    def members(self) -> list[tuple[tuple[object, ...], T]]:
        """Those that this process asked for, by the values of their labels."""
        return list(self._members.items())

    def remove(self, *values: object) -> None:
        """Readers see that member no more, until somebody asks for it again; it then goes on from where it was."""
        self._registry.hide(self.shape, fitting(self.shape, values))
        self._members.pop(values, None)

    def forget(self, values: tuple[str, ...]) -> None:
        """It was hidden: who asks for it shows it again."""
        self._members = {key: one for key, one in self._members.items() if fitting(self.shape, key) != values}


class Registry:
    """The metrics of one process. Defining is thread-safe; counting is as well, see `shm_metrics.twin`.

    After a fork the child counts in a slot of its own: what it holds goes on working, and begins at 0.
    """

    def __init__(self) -> None:
        """In the memory of this process alone, until it moves (`move_to`, `move_into`)."""
        self._shared: Shared | None = None
        self._private = Private()
        self._store: Store = self._private
        self._families: dict[str, Family[Any]] = {}
        self._members: dict[tuple[Shape, tuple[str, ...]], Any] = {}
        self._lock = RLock()
        self._told = Process()
        self._name = ""
        _forking.add(self)

    # ---- shared memory ----

    @classmethod
    def open(cls, name: str, geometry: Geometry = names.GEOMETRY) -> Self:
        """In the shared memory of that name, see `move_to`."""
        registry = cls()
        registry.move_to(name, geometry)
        return registry

    @classmethod
    def join(cls, fd: int) -> Self:
        """In the shared memory of that descriptor, see `move_into`."""
        registry = cls()
        registry.move_into(fd)
        return registry

    @classmethod
    def unnamed(cls, geometry: Geometry = names.GEOMETRY) -> Self:
        """In memory without a name, for children and whoever gets its `fd`. Raises `MetricsError`."""
        registry = cls()
        registry.move_off(geometry)
        return registry

    def move_to(self, name: str, geometry: Geometry = names.GEOMETRY, share: memory.Share | None = None) -> list[str]:
        """Go on in the shared memory of that name, made if it is not there, see `shm_metrics.names`.

        `share`: who else may. Returns why others of that name were not taken. Raises `MetricsError`, and ValueError for
        no name.
        """
        while True:
            opened = names.open_by_name(name, geometry, share)
            shared = self._arrive(opened.segment)
            if opened.in_place:
                break
            opened.segment.close()  # it lost its name before we had a slot in it
        self._move(shared)
        self._name = name
        return opened.refused

    def move_into(self, fd: int, name: str = "", share: memory.Share | None = None) -> None:
        """Go on in the shared memory of that descriptor, which stays the caller's. Raises `MetricsError`.

        `name` is the one that it may have been made under, for `unlink`. `share`: who else may go on in it, and may
        have made it.
        """
        own = memory.reopened(fd)
        memory.check_owner(own, of_others=True, share=share)
        memory.give(own, share)
        self._move(self._arrive(names.joined(own)))
        self._name = name

    def move_off(self, geometry: Geometry = names.GEOMETRY, share: memory.Share | None = None) -> None:
        """Go on in fresh memory without a name. `share`: who else may, by its descriptor. Raises `MetricsError`."""
        self._move(self._arrive(names.made(memory.unnamed(share), geometry)))

    def _arrive(self, segment: Segment) -> Shared:
        try:
            if self._shared is not None:
                raise MetricsError("these metrics are in shared memory already")
            return Shared(segment)
        except BaseException:
            segment.close()
            raise

    def _move(self, shared: Shared) -> None:
        """What was counted so far moves along. Once only."""
        with self._lock:
            private = self._private
            self._shared = self._store = shared
            missing = [key for key in private.placed if key not in shared.definitions.places]
            if missing:
                with self.defining():  # those alone: others that serve must not wait for the rest
                    for shape, values in missing:
                        shared.place(shape, values)
            for key, cells in private.placed.items():
                shared.take(key, self._members.get(key), cells)
            for shape, values in private.hidden:
                shared.hide(shape, values)
            self._private = Private()

    @property
    def fd(self) -> int:
        """The descriptor of the shared memory, to be passed on to another process (`join`); -1: there is none."""
        return self._shared.segment.fd if self._shared is not None and self._shared.segment.usable else -1

    @property
    def trouble(self) -> str:
        """Why some of what this process counts is not in the shared memory; empty if all is."""
        return "" if self._shared is None or not self._shared.adrift else self._shared.trouble

    def unlink(self) -> None:
        """Take its name away: an orderly end. Who has it open counts on."""
        if self.fd >= 0 and self._name:
            names.unlink(self.fd, self._name)

    @contextlib.contextmanager
    def defining(self) -> Iterator[None]:
        """Define much at once: one lock for all. Others that define, come or fold wait meanwhile."""
        with self._lock, contextlib.ExitStack() as stack:
            if self._shared is not None:
                with contextlib.suppress(*TROUBLE):  # each definition tries for itself
                    stack.enter_context(self._shared.segment.locked())
            yield

    def reign(self) -> None:
        """From now on gauges that are summed up count for this process, and for no other until it assists."""
        if self._shared is not None:
            self._shared.slots.reign()

    @property
    def reigns(self) -> bool:
        """No other process reigns since this one did; without shared memory always."""
        return self._shared is None or self._shared.slots.reigns

    def assist(self) -> None:
        """Gauges count for this process, too."""
        if self._shared is not None:
            self._shared.slots.join()

    def tell(self, process: Process) -> None:
        """Say of this process what readers may want to know."""
        if self._shared is not None:
            self._shared.slots.tell(process)
        else:
            self._told = process

    def processes(self) -> list[Process]:
        """What living processes say of themselves."""
        return [self._told] if self._shared is None else self._shared.processes()

    @property
    def alone(self) -> bool:
        """No other living process counts here."""
        return not self.others

    @property
    def others(self) -> int:
        """How many other living processes count here."""
        return 0 if self._shared is None else self._shared.slots.others

    def forked(self) -> None:
        """This is a child. Called by itself after every fork."""
        self._lock = RLock()
        if self._shared is not None:
            self._store = self._shared
            self._shared.forked()
            for (shape, values), member in self._members.items():
                member.bind(*self._shared.place_again(shape, values))

    # ---- defining ----

    @overload
    def counter(self, name: str, about: str) -> Counter: ...
    @overload
    def counter(self, name: str, about: str, labels: tuple[str, ...]) -> Family[Counter]: ...
    def counter(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Any:
        """A counter, or with labels a family of them. Its name ends in ``_total``."""
        if not name.endswith("_total"):
            raise ValueError(f"the name of the counter {name} should end in _total")
        return self._defined(Shape(name, "counter", about, labels))

    @overload
    def gauge(self, name: str, about: str) -> Gauge: ...
    @overload
    def gauge(self, name: str, about: str, labels: tuple[str, ...]) -> Family[Gauge]: ...
    def gauge(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Any:
        """A gauge of which readers see the sum over living processes, or with labels a family of them."""
        return self._defined(Shape(name, "gauge", about, labels, combine="sum"))

    @overload
    def maximum(self, name: str, about: str) -> Maximum: ...
    @overload
    def maximum(self, name: str, about: str, labels: tuple[str, ...]) -> Family[Maximum]: ...
    def maximum(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Any:
        """A gauge of which readers see the largest value ever set."""
        return self._defined(Shape(name, "gauge", about, labels, combine="max"))

    @overload
    def last(self, name: str, about: str) -> Last: ...
    @overload
    def last(self, name: str, about: str, labels: tuple[str, ...]) -> Family[Last]: ...
    def last(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Any:
        """A gauge of which readers see the value set last."""
        return self._defined(Shape(name, "gauge", about, labels, combine="last"))

    @overload
    def histogram(self, name: str, about: str, *, bounds: tuple[float, ...] = BOUNDS) -> Histogram: ...
    @overload
    def histogram(
        self, name: str, about: str, labels: tuple[str, ...], *, bounds: tuple[float, ...] = BOUNDS
    ) -> Family[Histogram]: ...
    def histogram(
        self, name: str, about: str, labels: tuple[str, ...] = (), *, bounds: tuple[float, ...] = BOUNDS
    ) -> Any:
        """A histogram, or with labels a family of them. `bounds`: upper bounds of its buckets, see `exponential`."""
        return self._defined(Shape(name, "histogram", about, labels, bounds))

    def _defined(self, shape: Shape) -> Any:
        """Raises ValueError for what is no shape, or another one than this name already has."""
        family = self._families.get(shape.name)
        if family is None:
            problem = shape.problem()
            if problem:
                raise ValueError(problem)
            family = self._families[shape.name] = Family(self, shape)
        elif family.shape != shape:
            raise ValueError(f"{shape.name} is defined already, and otherwise")
        return family if shape.labels else family.labels()

    def member(self, shape: Shape, values: tuple[str, ...]) -> Any:
        """See `Family.labels`."""
        key = shape, values
        with self._lock:
            found = self._members.get(key)
            if found is None:
                found = self._members[key] = metric(shape, *self._store.place(shape, values))
        return found

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """See `Family.remove`."""
        with self._lock:
            self._members.pop((shape, values), None)
            self._store.hide(shape, values)

    def retain(self, keep: Callable[[Shape, tuple[str, ...]], bool]) -> int:
        """Hide all members, whoever defined them, for which `keep` is false. Returns how many."""
        with self._lock:
            gone = [one for one in self._store.known() if not keep(*one)]
            for shape, values in gone:
                self.hide(shape, values)
                family = self._families.get(shape.name)
                if family is not None:
                    family.forget(values)
        return len(gone)

    # ---- reading ----

    def collect(self) -> list[Collected]:
        """All families that can be read, by name, members in the order of their definition."""
        with self._lock:
            steps = self.collecting()
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    found: list[Collected] = end.value
                    return found

    def collecting(self) -> Generator[None, None, list[Collected]]:
        """`collect` in steps of less than a millisecond; all values are of one moment."""
        with self._lock:
            if self._shared is not None and self._shared.adrift:
                self._shared.land(self._members)
            own = [family.shape for family in self._families.values()]
        return (yield from self._store.collecting(own))


_forking: Final[weakref.WeakSet[Registry]] = weakref.WeakSet()


def _forked() -> None:
    for registry in list(_forking):
        registry.forked()


os.register_at_fork(after_in_child=_forked)
