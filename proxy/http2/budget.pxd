# How budget.py is laid out when it is compiled: see proxy/compiled.py.

cdef class Bucket:
    cdef public double at
    cdef public double left
    cdef public long most
    cdef public double rate

    cpdef bint spend(self, double cost, double now, double earned=*) except -1
