# How message.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

cdef class Head:
    cdef public bytes raw
    cdef public long long length
    cdef public bint keep
    cdef public bytes upgrade

    cpdef tuple parts(self)

cdef class RequestHead(Head):
    cdef public bytes method
    cdef public bytes path
    cdef public bytes host
    cdef public bint request_id
    cdef public bytes forwarded_for
    cdef public bint scheme
    cdef public bint expects
    cdef public int minor
    cdef public int hosts

    cpdef tuple parts(self)

cdef class ResponseHead(Head):
    cdef public int status
    cdef public bint chunked

    cpdef tuple parts(self)

@cython.locals(head=RequestHead)
cpdef RequestHead request(bytes raw, bytes method, bytes path, bytes host, long long length, bint keep, bint request_id, bytes forwarded_for, bint scheme, bint expects, bytes upgrade)

@cython.locals(head=ResponseHead)
cpdef ResponseHead response(bytes raw, int status, long long length, bint keep, bint chunked, bytes upgrade)
