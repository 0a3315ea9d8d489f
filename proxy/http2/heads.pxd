# How heads.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http1.message cimport RequestHead

cdef int PASS, CONTENT_LENGTH, HOST, METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, STATUS, COOKIE, ABOUT_CALLS, SEALED
cdef int FREE, REGULAR, _USUAL

cdef class Head:
    cdef public tuple about
    cdef public bytes authority
    cdef public list cookies
    cdef public list fields
    cdef public bytes host
    cdef public bint large
    cdef public long long length
    cdef public list lines
    cdef public RequestHead made
    cdef public bint made_ended
    cdef public long made_most
    cdef public bytes method
    cdef public bytes path
    cdef public bint plain
    cdef public bytes protocol
    cdef public int status

cdef class Meaning:
    cdef public int bit
    cdef public bytes line

@cython.locals(name=bytes, value=bytes, bit=int)
cpdef Meaning meaning(field)
cpdef int _bit(bytes name, bytes value) except -1
@cython.locals(head=Head, seen=int)
cpdef Head read(list fields, int kind, bint connect)
@cython.locals(meanings=dict, seen=int, own=Py_ssize_t, bit=int, known=Meaning, lines=list)
cpdef int _gather(Head head) except -1
cpdef _crumb(Head head, value)
@cython.locals(wanted=int, pseudo=int)
cpdef _request(Head head, int seen, bint connect)
