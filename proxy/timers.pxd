# What timers.pyx offers to compiled modules: see proxy/compiled.py.

cdef struct Alarm:
    double when
    long long serial

cdef class Alarms:
    cdef Alarm *_heap
    cdef Py_ssize_t _count
    cdef Py_ssize_t _room

    cpdef plan(self, double when, long long serial)
    cpdef double next(self) except? -1
    cpdef list past(self, double now)
    cdef _grow(self)
    cdef void _sift(self, Alarm moved) noexcept
