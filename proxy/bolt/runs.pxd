# What runs.pyx offers to compiled modules: see proxy/compiled.py.

from proxy.multiplexed.pending cimport Pending

cdef class Sight:
    cdef public Py_ssize_t end
    cdef public Py_ssize_t header
    cdef public Py_ssize_t header_end
    cdef public int codec
    cdef public long long number
    cdef public int status
    cdef public Py_ssize_t wanted
    cdef public int ver1

    cdef bint _see(self, bytearray buffer, Py_ssize_t at, int kind) except -1
    cpdef bint call(self, bytearray buffer, Py_ssize_t at) except -1
    cpdef bint answer(self, bytearray buffer, Py_ssize_t at, int version) except -1

cdef class BoltCalls(Pending):
    cpdef Py_ssize_t pass_on(self, bytearray buffer, Py_ssize_t at, int alike, caller, str route, double now, double patience) except -1
    cpdef Py_ssize_t give_back(self, bytearray buffer, Py_ssize_t at, int version, double now, observe) except -1
