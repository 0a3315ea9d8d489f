"""Named and labelled metrics: what a program defines, counts with, and reads.

    metrics = Registry()                                        # in memory, for this process alone
    metrics = Registry.open("shop")                             # in shared memory, see `shm_metrics.segment`
    requests = metrics.counter("shop_requests_total", "Requests answered.", ("method", "code"))
    requests.labels("GET", "200").inc()
    for family in metrics.collect(): ...

Define what you can before you count: `labels` looks a member up in 0.2 us, so hot paths keep what it returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, overload

from shm_metrics.cells import Counter, Gauge, Histogram, Last, Maximum, metric
from shm_metrics.shape import Shape, exponential, fitting
from shm_metrics.twin import Cells

T = TypeVar("T", Counter, Gauge, Histogram, Maximum, Last)

BOUNDS = exponential(0.0001, 2, 18)
"""Seconds: 0.1 ms to 13 s."""


class Member(NamedTuple):
    """The value of one member of a family."""

    values: tuple[str, ...]
    """Of its labels."""
    cells: list[float]
    """A counter's or gauge's value; of a histogram the sum, then the count of each bucket, not cumulative."""


class Collected(NamedTuple):
    """A family as a reader sees it."""

    shape: Shape
    members: list[Member]


class Store(Protocol):
    """Where cells are."""

    def place(self, shape: Shape, values: tuple[str, ...]) -> tuple[Cells, int]:
        """The cells of that member: a buffer, and where in it. The same again for the same member."""

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """Readers see that member no more, until it is placed again."""

    def collect(self, own: Iterable[Shape]) -> list[Collected]:
        """All that can be read. Of families that have one name and differ otherwise, `own` says which are meant."""


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

    def remove(self, *values: object) -> None:
        """Readers see that member no more, until somebody asks for it again; it then goes on from where it was."""
        self._registry.hide(self.shape, fitting(self.shape, values))
        self._members.pop(values, None)

    def forget(self) -> None:
        """Look members up anew."""
        self._members.clear()


class Registry:
    """The metrics of one process. Defining is thread-safe; counting is as well, see `shm_metrics.twin`."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store or Private()
        self._families: dict[str, Family[Any]] = {}
        self._members: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._lock = Lock()

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
        key = shape.name, values
        with self._lock:
            found = self._members.get(key)
            if found is None:
                found = self._members[key] = metric(shape, *self._store.place(shape, values))
        return found

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """See `Family.remove`."""
        with self._lock:
            self._members.pop((shape.name, values), None)
            self._store.hide(shape, values)

    # ---- reading ----

    def collect(self) -> list[Collected]:
        """All families that can be read, by name, members in the order of their definition."""
        return self._store.collect([family.shape for family in self._families.values()])


class Private:
    """Cells in the memory of this process."""

    def __init__(self) -> None:
        self._placed: dict[tuple[Shape, tuple[str, ...]], Cells] = {}

    def place(self, shape: Shape, values: tuple[str, ...]) -> tuple[Cells, int]:
        """See `Store`."""
        cells = self._placed.setdefault((shape, values), memoryview(bytearray(8 * shape.cells)).cast("d"))
        return cells, 0

    def hide(self, shape: Shape, values: tuple[str, ...]) -> None:
        """See `Store`."""
        self._placed.pop((shape, values), None)

    def collect(self, own: Iterable[Shape]) -> list[Collected]:
        """See `Store`."""
        found: dict[Shape, list[Member]] = {}
        for (shape, values), cells in self._placed.items():
            there = cells[:1] if shape.combine == "last" else cells
            found.setdefault(shape, []).append(Member(values, list(there)))
        return [Collected(*one) for one in sorted(found.items(), key=lambda one: one[0].name)]
