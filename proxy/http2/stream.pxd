# How stream.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

cdef class Stream:
    cdef public long flags
    cdef public long long held
    cdef public long id
    cdef public long long left
    cdef public long long owed
    cdef public bytearray queue
    cdef public long long receive_window
    cdef public long long send_window
    cdef public object trailers

    cpdef fresh(self, long stream_id, long long send_window, long long receive_window)

@cython.locals(stream=Stream)
cpdef Stream opened(long stream_id, long long send_window, long long receive_window)
