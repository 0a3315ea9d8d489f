# What pending.pyx offers to compiled modules: see proxy/compiled.py.

cdef struct Entry:
    long long id
    long long theirs
    double until
    double began
    int seat
    int label
    int codec
    int ver1
    int before
    int behind
    bint looked_at

cdef struct Run:
    int seat
    int label
    long count
    long alike
    double began

cdef class Pending:
    cdef public object asker
    cdef public long count
    cdef public long long last
    cdef public str route
    cdef public double soonest
    cdef public long wrong
    cdef Entry *_entries
    cdef int *_slots
    cdef unsigned long long _mask
    cdef int _shift
    cdef int _room
    cdef int _size
    cdef int _spare
    cdef int _oldest
    cdef int _newest
    cdef dict _abouts
    cdef list _askers
    cdef dict _seats
    cdef list _vacant
    cdef list _routes
    cdef dict _labels

    cdef int _find(self, long long number) noexcept
    cdef int _added(self, long long number) except -1
    cdef int _grow(self) except -1
    cdef void _seat_all(self) noexcept
    cdef void _remove(self, int at) noexcept
    cdef int _seat(self, asker) except -2
    cdef int _label(self, str route) except -1
    cdef tuple _call(self, int at)
    cdef int _enter(
        self, long long theirs, double until, double now, int codec, int ver1, int seat, int label
    ) except -1
    cdef int _awaited(self, long long number, Run *run) noexcept
    cdef long long _answered(self, int at, Run *run, double now, observe) except? -1
    cdef int _told(self, Run *run, long wrong, double now, observe) except -1
    cpdef long size(self) except -1
    cpdef bint has(self, long long number) except -1
    cpdef put(self, long long number, tuple call)
    cpdef tuple pop(self, number)
    cpdef list values(self)
    cpdef list items(self)
    cpdef list of(self, asker)
    cpdef long forget(self, asker) except -1
    cpdef double earliest(self) except? -1
