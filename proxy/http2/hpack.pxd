# How hpack.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.huffman cimport decode
from proxy.http2.literals cimport integer, literal, raw, secret, string
from proxy.octets cimport cut

cdef bint QUICK
cdef int ENTERS, NEVER_ENTERS, PLAIN, ENTRY

cdef tuple _STATIC

@cython.locals(known=bytes, text=bytes)
cpdef bytes _plain(bytes coded, dict memo, Py_ssize_t most, Py_ssize_t longest)
@cython.locals(octet=int, shift=int)
cpdef tuple _integer(bytes block, Py_ssize_t at, long long value)

cdef class Decoder:
    cdef public dict _secrets
    cdef public object entries
    cdef public long long filled
    cdef public long long inserted
    cdef public long long limit
    cdef public bint must_tell
    cdef public long long size

    cpdef permit(self, long long size)
    @cython.locals(fields=list, at=Py_ssize_t, total=cython.longlong, end=Py_ssize_t, octet=int, index=Py_ssize_t, size=cython.longlong, mask=int, length=Py_ssize_t, start=Py_ssize_t, name=bytes, value=bytes)
    cpdef list decode(self, bytes block, long long most)
    @cython.locals(size=cython.longlong)
    cpdef Py_ssize_t _resize(self, bytes block, Py_ssize_t at, int octet) except -1
    cpdef tuple _name(self, bytes block, Py_ssize_t at, Py_ssize_t index)
    @cython.locals(length=Py_ssize_t, end=Py_ssize_t)
    cpdef tuple _string(self, bytes block, Py_ssize_t at, int octet, bint never)
    cpdef _insert(self, field, long long size)
    cpdef _evict(self, long long most)

cdef class Encoder:
    cdef public dict blocks
    cdef public object entries
    cdef public long long filled
    cdef public long long inserted
    cdef public dict known
    cdef public bint lasting
    cdef public long long limit
    cdef public dict names
    cdef public tuple pending
    cdef public long long size

    cpdef permit(self, long long limit)
    @cython.locals(known=dict, fixed=dict, out=bytearray, index=cython.longlong, block=bytes)
    cpdef bytes encode(self, fields, bytes key=*)
    @cython.locals(name=bytes, value=bytes, out=bytes, size=cython.longlong)
    cpdef bytes _literal(self, field)
    cpdef bytes _named(self, bytes name, int bits, int first)
    @cython.locals(number=cython.longlong, size=cython.longlong)
    cpdef _evict(self, long long most)
