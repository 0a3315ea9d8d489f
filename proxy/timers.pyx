"""When to look at which connection again, by C: see timers.py, the twin in Python.

A heap of pairs of numbers, which are no objects: a stream of HTTP/2 plans a moment, 0.1 us instead of 0.35.
"""

from libc.math cimport INFINITY
from libc.stdlib cimport free, realloc

DEF LEAST = 64


cdef inline bint before(const Alarm *one, const Alarm *other) noexcept nogil:
    return one.when < other.when or (one.when == other.when and one.serial < other.serial)


cdef class Alarms:
    """A heap of (moment, serial). Entries of ended or replanned connections go when their moment comes."""

    def __dealloc__(self):
        free(self._heap)

    def __len__(self):
        return self._count

    cpdef plan(self, double when, long long serial):
        """Have `serial` come out of `past` once `when` has passed."""
        cdef Py_ssize_t at, above
        cdef Alarm new
        if self._count == self._room:
            self._grow()
        new.when = when
        new.serial = serial
        at = self._count
        self._count += 1
        while at:
            above = (at - 1) >> 1
            if not before(&new, &self._heap[above]):
                break
            self._heap[at] = self._heap[above]
            at = above
        self._heap[at] = new

    cpdef double next(self) except? -1:
        """The earliest planned moment, monotonic seconds; inf if none."""
        return self._heap[0].when if self._count else INFINITY

    cpdef list past(self, double now):
        """Take out all whose moment has come, earliest first."""
        cdef list gone = []
        while self._count and self._heap[0].when <= now:
            gone.append((self._heap[0].when, self._heap[0].serial))
            self._count -= 1
            if self._count:
                self._sift(self._heap[self._count])
        return gone

    def ring(self, reactor, double now):
        """Have the connections whose moment has come look at what is due."""
        for when, serial in self.past(now):
            connection = reactor.connections.get(serial) or reactor.hosted.get(serial)
            if connection is None or connection.alarm != when:  # ended, or planned anew
                continue
            connection.alarm = INFINITY
            try:
                if connection.due() <= now:
                    connection.changes += 1
                    connection.expired(now)
                if connection.fd >= 0:
                    connection.wake(connection.due())
            except Exception as bug:
                reactor.broken(connection, bug)

    def rebuild(self, living):
        """Drop everything but the plans of these: short connections must not leave entries for minutes."""
        self._count = 0
        for one in living:
            if one.alarm != INFINITY:
                self.plan(one.alarm, one.serial)

    cdef _grow(self):
        cdef Py_ssize_t room = max(LEAST, 2 * self._room)
        cdef Alarm *larger = <Alarm *> realloc(self._heap, room * sizeof(Alarm))
        if larger is NULL:
            raise MemoryError
        self._heap = larger
        self._room = room

    cdef void _sift(self, Alarm moved) noexcept:
        """Put it where the first one was."""
        cdef Py_ssize_t at = 0, below = 1
        while below < self._count:
            if below + 1 < self._count and before(&self._heap[below + 1], &self._heap[below]):
                below += 1
            if not before(&self._heap[below], &moved):
                break
            self._heap[at] = self._heap[below]
            at = below
            below = 2 * at + 1
        self._heap[at] = moved


def remaining(double deadline, double now):
    """A deadline as it travels: the time left (negative if it passed meanwhile), None for none."""
    return None if deadline == INFINITY else deadline - now


def deadline(left, double now):
    """The counterpart of `remaining`."""
    return INFINITY if left is None else now + left
