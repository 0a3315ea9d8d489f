# How incoming.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.controls cimport Controls
from proxy.http2.heads cimport Head, read
from proxy.http2.hpack cimport Decoder
from proxy.http2.packing cimport front, stream_of
from proxy.http2.stream cimport Stream, opened
from proxy.octets cimport cut

cdef int BODYLESS, HEAD_IN, LOCAL_ENDED, REMOTE_ENDED, TUNNEL
cdef int WINDOW, CONTINUATION, DATA, HEADERS, HEAD_SIZE
cdef int END_HEADERS, END_STREAM, PADDED, WITH_PRIORITY, _PARTIAL
cdef int PREFACE, SETTINGS
cdef int REQUEST, RESPONSE, TRAILERS

cdef class Incoming(Controls):
    @cython.locals(at=Py_ssize_t)
    cpdef received(self, bytes data, double now)
    cpdef Py_ssize_t _preface(self, bytes data) except -1
    @cython.locals(size=Py_ssize_t, most=Py_ssize_t, first=cython.longlong, length=Py_ssize_t, kind=int, flags=int, start=Py_ssize_t, end=Py_ssize_t, stream_id=long)
    cpdef Py_ssize_t _frames(self, bytes data, Py_ssize_t at) except -1
    cpdef _expected(self, int kind, int flags, long stream_id)
    @cython.locals(size=Py_ssize_t, stream=Stream, end=bint)
    cpdef _body(self, long stream_id, int flags, bytes payload)
    cpdef _stray_body(self, long stream_id, Py_ssize_t size)
    cpdef _headers(self, long stream_id, int flags, bytes payload)
    @cython.locals(stream_id=long)
    cpdef _continuation(self, int flags, bytes payload)
    @cython.locals(stream=Stream)
    cpdef _block(self, long stream_id, bytes block, bint end)
    @cython.locals(stream=Stream, head=Head)
    cpdef _request(self, long stream_id, bytes block, bint end)
    @cython.locals(stream=Stream)
    cpdef Stream _new(self, long stream_id, bint end)
    @cython.locals(head=Head)
    cpdef _response(self, Stream stream, bytes block, bint end)
    @cython.locals(head=Head)
    cpdef _trailers(self, Stream stream, bytes block, bint end)
    cpdef _remote_end(self, Stream stream)
    cpdef _stray_block(self, long stream_id, bytes block)
    @cython.locals(known=dict, decoder=Decoder, head=Head, fields=list, unaltered=bint)
    cpdef Head head(self, bytes block, int kind)
    cpdef _fault(self, Stream stream, long code)
    cpdef _refuse(self, long stream_id, long code, int status)
    @cython.locals(stream=Stream)
    cpdef _answer(self, long stream_id, int status, bint end)
