"""Many processes count while some are killed, and somebody reads all the time."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest

from shm_metrics import Registry, memory
from shm_metrics.layout import Geometry
from tests.kit.waiting import Deadline
from tests.shm_metrics.children import Child, close, read, slots

WRITERS = 8
PATIENCE = 100.0
ROOM = Geometry(slots=WRITERS + 3, cells=512, definitions=4096)
BEGUN, DONE, LIVES = 0, 1, 2
"""What a writer notes, by number: counts it began, counts it ended, that it is there."""


class Journal:
    """What each writer has begun to count, and has counted. Outlives all of them."""

    def __init__(self, lives: int) -> None:
        fd = memory.unnamed()
        os.ftruncate(fd, 64 * lives)
        self._cells = memory.mapped(fd, 0, 64 * lives).cast("q")
        os.close(fd)

    def of(self, life: int) -> memoryview[int]:
        return self._cells[8 * life : 8 * life + 8]

    def total(self, which: int) -> int:
        return sum(self._cells[which::8])


class Storm:
    """Writers on one segment. Every death makes another one come."""

    def __init__(self, deaths: int) -> None:
        self.journal = Journal(WRITERS + deaths)
        self.reader = Registry.unnamed(ROOM)
        self.born = 0
        self.living: dict[int, Child] = {}
        for _ in range(WRITERS):
            self.bear()

    def bear(self) -> None:
        life = self.born
        self.born += 1
        mine = self.journal.of(life)

        def work(me: Child) -> None:
            registry = Registry.join(self.reader.fd)
            close(self.reader)  # as if it had never been forked
            del self.reader
            events = registry.counter("events_total", "Events.", ("what",))
            sizes = registry.histogram("size", "Sizes.", bounds=(1.0, 2.0))
            registry.gauge("living", "Writers.").set(1)
            members = [events.labels(n) for n in range(4)]
            mine[LIVES] = 1
            n = 0
            while mine[LIVES] == 1:
                n += 1
                mine[BEGUN] = n
                if not n % 500:  # another series now and then: definitions and blocks grow while others count
                    members[n % 4] = events.labels(f"{life}/{n // 500 % 40}")
                members[n % 4].inc()
                sizes.observe(1.5)
                mine[DONE] = n
            assert registry.trouble == ""
            me.tell("done")
            me.wait()

        self.living[life] = Child(work)

    def kill(self, life: int) -> None:
        self.living.pop(life).kill()

    def check(self, before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
        """One reading: not less than was there before it, not more than had been begun after it."""
        least = self.journal.total(DONE)
        values = read(self.reader)
        most = self.journal.total(BEGUN)
        counted = sum(value for key, value in values.items() if key[0] == "events_total")
        assert least <= counted <= most
        fallen = {key: (was, values.get(key)) for key, was in before.items() if not values.get(key, -1) >= was}
        fallen.pop(("living",), None)
        assert fallen == {}
        return values

    def end(self) -> None:
        for one in self.living.values():
            os.kill(one.pid, signal.SIGKILL)
            one.end()
        close(self.reader)


@pytest.fixture
def storm(request: pytest.FixtureRequest) -> Iterator[Storm]:
    one = Storm(request.param)
    yield one
    one.end()


@pytest.mark.parametrize(
    "storm", [pytest.param(12, id="short"), pytest.param(100, id="long", marks=pytest.mark.all)], indirect=True
)
def test_no_count_is_lost_or_doubled_and_none_ever_falls(storm: Storm) -> None:
    chance = random.Random(5)
    deadline = Deadline(PATIENCE)
    values: dict[tuple[str, ...], float] = {}
    deaths = 0
    while storm.born < len(storm.journal._cells) // 8 and not deadline.passed:
        life = chance.choice([*storm.living])
        wanted = storm.journal.of(life)[DONE] + chance.randrange(1000)
        while storm.journal.of(life)[DONE] < wanted and not deadline.passed:
            values = storm.check(values)
        if chance.random() < 0.2:  # one that does not even come
            life = storm.born - 1
        storm.kill(life)
        deaths += 1
        storm.bear()
    assert deaths == storm.born - WRITERS
    for life, one in storm.living.items():
        while not storm.journal.of(life)[LIVES] and not deadline.passed:
            values = storm.check(values)
        storm.journal.of(life)[LIVES] = 2
        assert one.hear() == "done"
    values = storm.check(values)
    counted = sum(value for key, value in values.items() if key[0] == "events_total")
    # Only one that was killed between writing down, counting, and writing down again can be in doubt, by one.
    assert storm.journal.total(DONE) <= counted <= storm.journal.total(DONE) + deaths
    assert counted <= storm.journal.total(BEGUN)
    (size,) = [one for one in storm.reader.collect() if one.shape.name == "size"]
    buckets = size.members[0].cells[1:]
    assert buckets[0] == buckets[2] == 0
    assert abs(buckets[1] - counted) <= deaths
    assert abs(size.members[0].cells[0] - 1.5 * buckets[1]) <= 1.5 * deaths
    assert values["living",] == WRITERS
    assert len(slots(storm.reader)._segment.blocks()) > 1
    for life in [*storm.living]:
        storm.kill(life)
    after = read(storm.reader)
    assert after["living",] == 0
    assert {key: value for key, value in after.items() if key != ("living",)} == {
        key: value for key, value in values.items() if key != ("living",)
    }
    assert slots(storm.reader)._segment.used() == [slots(storm.reader).own]
