# What runs.pyx offers to compiled modules: see proxy/compiled.py.

from proxy.multiplexed.pending cimport Pending

cdef class Sight:
    cdef public Py_ssize_t end
    cdef public long long number
    cdef public int status
    cdef public Py_ssize_t wanted

    cpdef bint call(self, bytearray buffer, Py_ssize_t at, Py_ssize_t limit) except -1
    cpdef bint answer(self, bytearray buffer, Py_ssize_t at, Py_ssize_t limit) except -1

cdef class DubboCalls(Pending):
    cpdef Py_ssize_t pass_on(self, bytearray buffer, Py_ssize_t at, Py_ssize_t same, Py_ssize_t limit, caller, str route, double now, double until) except -1
    cpdef Py_ssize_t give_back(self, bytearray buffer, Py_ssize_t at, Py_ssize_t limit, double now, observe) except -1
