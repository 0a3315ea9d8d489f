# How flow.py is laid out when it is compiled: see proxy/compiled.py.

cdef class Flow:
    cdef public object _count
    cdef public long long owed
    cpdef settle(self)
