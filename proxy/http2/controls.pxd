# How controls.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.outgoing cimport Outgoing
from proxy.http2.stream cimport Stream

cdef int ACK, SETTINGS, PING, RST_STREAM, WINDOW_UPDATE
cdef long long LARGEST_WINDOW

cdef class Controls(Outgoing):
    cpdef control(self, int kind, int flags, long stream_id, bytes payload)
    cpdef useless(self, long cost=*)
    cpdef charge(self)
    cpdef bint is_idle(self, long stream_id) except -1
    cpdef _settings(self, int flags, long stream_id, bytes payload)
    @cython.locals(stream=Stream)
    cpdef _shift(self, long long change)
    @cython.locals(stream=Stream, change=cython.longlong)
    cpdef _acknowledged(self)
    @cython.locals(stream=Stream, increment=cython.longlong)
    cpdef _window_update(self, long stream_id, bytes payload)
    @cython.locals(stream=Stream)
    cpdef _rst_stream(self, long stream_id, bytes payload)
    cpdef _ping(self, int flags, long stream_id, bytes payload)
    cpdef farewell(self)
    @cython.locals(stream=Stream)
    cpdef _goaway(self, long stream_id, bytes payload)
    cpdef _ignored(self, int kind, long stream_id, bytes payload)
    cpdef fail(self, long code, reason)
    cpdef _end(self, long code, bytes text=*)
