"""The calls under way on one connection by our id, in C: see pending.py, the twin in Python.

An entry has numbers only. Who called stands in a list, at the seat that the entry names, and so do routes' labels: no
pointer of C refers to an object, and the collector of cycles sees all there is. Entries are found by open addressing,
and are chained in the order in which they came. Ids are given one after the other: at their low bits they would stand
side by side, and each that is taken out had to look at all behind it. Times the golden ratio they keep their distance.
"""

from libc.math cimport INFINITY
from libc.stdlib cimport free, realloc

from proxy.multiplexed.wire import LAST_ID as _LAST_ID

DEF NONE = -1
DEF NOBODY = -1
DEF FIRST_ROOM = 16
DEF FIRST_BITS = 5
DEF GOLDEN = 0x9E3779B97F4A7C15


cdef long long LAST_ID = _LAST_ID


cdef inline unsigned long long home(long long number, int shift) noexcept nogil:
    """Where the search for an id begins."""
    return (<unsigned long long>number * <unsigned long long>GOLDEN) >> shift


cdef class Pending:
    """No call, to begin with."""

    def __cinit__(self):
        self._spare = self._oldest = self._newest = NONE
        self._abouts, self._askers, self._seats, self._vacant = {}, [], {}, []
        self._routes, self._labels = [], {}
        self.route = ""
        self.soonest = INFINITY

    def __dealloc__(self):
        free(self._entries)
        free(self._slots)

    def __len__(self):
        return self._size

    cpdef long size(self) except -1:
        """How many there are."""
        return self._size

    cpdef bint has(self, long long number) except -1:
        """A call has this id."""
        return self._find(number) != NONE

    cpdef put(self, long long number, tuple call):
        """Add a call, or give one that is there another form: it keeps its place."""
        asker, theirs, until, codec, ver1, about, began, route = call
        cdef long long their_id = theirs
        cdef double till = until, since = began
        cdef int codec_of = codec, variant = ver1
        cdef int seat = self._seat(asker), label = self._label(route)
        cdef int at = self._find(number)
        if at == NONE:
            at = self._added(number)
        cdef Entry *entry = &self._entries[at]
        entry.theirs, entry.until, entry.began = their_id, till, since
        entry.codec, entry.ver1, entry.seat, entry.label = codec_of, variant, seat, label
        entry.looked_at = about is not None
        if about is not None:
            self._abouts[number] = about
        else:
            self._abouts.pop(number, None)

    cpdef tuple pop(self, number):
        """Take a call out; None if there is none."""
        cdef int at = self._find(number)
        if at == NONE:
            return None
        call = self._call(at)
        if self._entries[at].looked_at:
            del self._abouts[number]
        self._remove(at)
        return call

    cpdef list values(self):
        """All of them."""
        cdef int at = self._oldest
        found = []
        while at != NONE:
            found.append(self._call(at))
            at = self._entries[at].behind
        return found

    cpdef list items(self):
        """All of them, with their ids."""
        cdef int at = self._oldest
        found = []
        while at != NONE:
            found.append((self._entries[at].id, self._call(at)))
            at = self._entries[at].behind
        return found

    cpdef list of(self, asker):
        """Those of one client."""
        cdef int at = self._oldest
        found = []
        seat = self._seats.get(asker)
        if seat is None:
            return found
        cdef int wanted = seat
        while at != NONE:
            if self._entries[at].seat == wanted:
                found.append(self._call(at))
            at = self._entries[at].behind
        return found

    cpdef long forget(self, asker) except -1:
        """Take out those of one client. Returns how many there were."""
        cdef int at = self._oldest, behind, wanted
        cdef long count = 0
        if self.asker is asker:
            self.asker = None
        seat = self._seats.pop(asker, None)
        if seat is None:
            return 0
        wanted = seat
        while at != NONE:
            behind = self._entries[at].behind
            if self._entries[at].seat == wanted:
                if self._entries[at].looked_at:
                    del self._abouts[self._entries[at].id]
                self._remove(at)
                count += 1
            at = behind
        self._askers[wanted] = None
        self._vacant.append(seat)
        return count

    cpdef double earliest(self) except? -1:
        """The earliest deadline; inf without a call."""
        cdef int at = self._oldest
        cdef double found = INFINITY
        while at != NONE:
            if self._entries[at].until < found:
                found = self._entries[at].until
            at = self._entries[at].behind
        return found

    # ---- what stands at an entry ----

    cdef tuple _call(self, int at):
        """As a tuple."""
        cdef Entry *entry = &self._entries[at]
        asker = None if entry.seat == NOBODY else self._askers[entry.seat]
        about = self._abouts[entry.id] if entry.looked_at else None
        route = self._routes[entry.label]
        return asker, entry.theirs, entry.until, entry.codec, entry.ver1, about, entry.began, route

    cdef int _seat(self, asker) except -2:
        """The seat of a client, which it keeps until it is forgotten."""
        if asker is None:
            return NOBODY
        found = self._seats.get(asker)
        if found is not None:
            return found
        if self._vacant:
            found = self._vacant.pop()
            self._askers[found] = asker
        else:
            found = len(self._askers)
            self._askers.append(asker)
        self._seats[asker] = found
        return found

    cdef int _label(self, str route) except -1:
        """The place of a label. There are as many as routes were ever configured."""
        found = self._labels.get(route)
        if found is None:
            found = self._labels[route] = len(self._routes)
            self._routes.append(route)
        return found

    # ---- runs of calls and of their answers, for codecs ----

    cdef int _enter(
        self, long long theirs, double until, double now, int codec, int ver1, int seat, int label
    ) except -1:
        """Add a call that nobody looks at, with the next id that is free: `last`."""
        cdef long long number = self.last + 1
        cdef Entry *entry
        while number > LAST_ID or self._find(number) != NONE:
            number = number + 1 if number < LAST_ID else 1
        entry = &self._entries[self._added(number)]
        entry.theirs, entry.until, entry.began = theirs, until, now
        entry.codec, entry.ver1, entry.seat, entry.label = codec, ver1, seat, label
        entry.looked_at = False
        self.last = number
        return 0

    cdef int _awaited(self, long long number, Run *run) noexcept:
        """Where the call is that an answer is for. NONE if it ends the run: all are for one client, by one route."""
        cdef int at = self._find(number)
        cdef Entry *entry
        if at == NONE:
            return NONE
        entry = &self._entries[at]
        if entry.seat == NOBODY or entry.looked_at:
            return NONE
        if not run.count:
            run.seat, run.label = entry.seat, entry.label
        elif entry.seat != run.seat or entry.label != run.label:
            return NONE
        return at

    cdef long long _answered(self, int at, Run *run, double now, observe) except? -1:
        """Take that call out. Returns its client's id. Calls that came at one moment are observed together."""
        cdef long long theirs
        if self._entries[at].began != run.began:
            if run.alike:
                observe(now - run.began, run.alike)
            run.began, run.alike = self._entries[at].began, 0
        run.alike += 1
        run.count += 1
        theirs = self._entries[at].theirs
        self._remove(at)
        return theirs

    cdef int _told(self, Run *run, long wrong, double now, observe) except -1:
        """The run is over: whose answers these were, by which route, and how many."""
        if run.alike:
            observe(now - run.began, run.alike)
        self.asker = self._askers[run.seat] if run.count else None
        self.route = self._routes[run.label] if run.count else ""
        self.count, self.wrong = run.count, wrong
        return 0

    # ---- the table ----

    cdef int _find(self, long long number) noexcept:
        """Where the entry of this id is; NONE if there is none."""
        cdef unsigned long long slot
        cdef int at
        if self._size == 0:
            return NONE
        slot = home(number, self._shift)
        while True:
            at = self._slots[slot]
            if at == NONE or self._entries[at].id == number:
                return at
            slot = (slot + 1) & self._mask

    cdef int _added(self, long long number) except -1:
        """Make an entry for an id that has none. Pointers to others do not survive that."""
        cdef unsigned long long slot
        cdef Entry *entry
        cdef int at
        if self._spare == NONE:
            self._grow()
        at = self._spare
        entry = &self._entries[at]
        self._spare = entry.behind
        entry.id, entry.before, entry.behind = number, self._newest, NONE
        if self._newest == NONE:
            self._oldest = at
        else:
            self._entries[self._newest].behind = at
        self._newest = at
        self._size += 1
        slot = home(number, self._shift)
        while self._slots[slot] != NONE:
            slot = (slot + 1) & self._mask
        self._slots[slot] = at
        return at

    cdef int _grow(self) except -1:
        """Make room for twice as many."""
        cdef int room = self._room * 2 if self._room else FIRST_ROOM
        cdef int at
        entries = <Entry *>realloc(self._entries, room * sizeof(Entry))
        if entries == NULL:
            raise MemoryError
        self._entries = entries
        slots = <int *>realloc(self._slots, 2 * room * sizeof(int))
        if slots == NULL:
            raise MemoryError
        self._slots = slots
        for at in range(self._room, room):
            self._entries[at].behind = at + 1 if at + 1 < room else NONE
        self._spare = self._room
        self._room = room
        self._mask = 2 * room - 1
        self._shift = self._shift - 1 if self._shift else 64 - FIRST_BITS
        self._seat_all()
        return 0

    cdef void _seat_all(self) noexcept:
        """Put all entries into the table anew."""
        cdef unsigned long long slot
        cdef int at
        for at in range(2 * self._room):
            self._slots[at] = NONE
        at = self._oldest
        while at != NONE:
            slot = home(self._entries[at].id, self._shift)
            while self._slots[slot] != NONE:
                slot = (slot + 1) & self._mask
            self._slots[slot] = at
            at = self._entries[at].behind

    cdef void _remove(self, int at) noexcept:
        """Take an entry out. Those behind it in the table move up, so that nothing has to mark its place."""
        cdef Entry *entry = &self._entries[at]
        cdef unsigned long long mask = self._mask
        cdef unsigned long long gap = home(entry.id, self._shift)
        cdef unsigned long long other, begun
        while self._slots[gap] != at:
            gap = (gap + 1) & mask
        other = gap
        while True:
            other = (other + 1) & mask
            if self._slots[other] == NONE:
                break
            begun = home(self._entries[self._slots[other]].id, self._shift)
            if ((other - begun) & mask) >= ((other - gap) & mask):
                self._slots[gap] = self._slots[other]
                gap = other
        self._slots[gap] = NONE
        if entry.before == NONE:
            self._oldest = entry.behind
        else:
            self._entries[entry.before].behind = entry.behind
        if entry.behind == NONE:
            self._newest = entry.before
        else:
            self._entries[entry.behind].before = entry.before
        entry.behind = self._spare
        self._spare = at
        self._size -= 1
