# How mix.py is laid out when it is compiled: see proxy/compiled.py.

cdef class Mix:
    cdef public dict coming
    cdef public double not_before
    cdef public long owed
    cdef public long plain
    cdef public long secure
    cdef public bint settled
