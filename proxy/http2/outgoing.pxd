# How outgoing.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.budget cimport Bucket
from proxy.http2.hpack cimport Decoder, Encoder
from proxy.http2.owner cimport Owner
from proxy.http2.stream cimport Stream, opened

cdef int BODYLESS, ENDING, HEAD_OUT, LOCAL_ENDED, REMOTE_ENDED, STUCK, TUNNEL, WAITING
cdef int END_STREAM, LEAST_FRAME, WINDOW, DATA, HEADERS
cdef long LAST_STREAM

cdef class Outgoing:
    cdef public bint acked
    cdef public bytearray block
    cdef public bint block_end
    cdef public long block_frames
    cdef public long long counted
    cdef public bint dead
    cdef public Decoder decoder
    cdef public dict dropped
    cdef public Encoder encoder
    cdef public long expecting
    cdef public Bucket frames_left
    cdef public bytearray inbox
    cdef public dict known
    cdef public long long known_at
    cdef public dict known_trailers
    cdef public long last_seen
    cdef public int leaving
    cdef public object limits
    cdef public dict lingering
    cdef public long missed
    cdef public long next_id
    cdef public double now
    cdef public object ours
    cdef public list out
    cdef public long long owed
    cdef public Owner owner
    cdef public long peer_last
    cdef public long long pings
    cdef public long long queued
    cdef public dict ready
    cdef public long long receive_window
    cdef public Bucket resets_left
    cdef public long long send_window
    cdef public bint server
    cdef public dict streams
    cdef public double stuck_at
    cdef public object theirs
    cdef public Py_ssize_t wanted
    cdef public long long work

    @cython.locals(out=list)
    cpdef bytes take(self)
    @cython.locals(stream_id=long)
    cpdef long open(self) except -1
    cpdef bint is_spent(self) except -1
    cpdef bint can_open(self) except -1
    @cython.locals(stream=Stream)
    cpdef send_headers(self, long stream_id, fields, bint end, bytes key=*)
    @cython.locals(stream=Stream, block=bytes)
    cpdef bint send_again(self, long stream_id, bytes key, bint end) except -1
    @cython.locals(stream=Stream, size=Py_ssize_t, sent=Py_ssize_t)
    cpdef bint send_body(self, long stream_id, bytes piece, bint end) except -1
    @cython.locals(stream=Stream)
    cpdef send_trailers(self, long stream_id, fields)
    @cython.locals(stream=Stream)
    cpdef reset(self, long stream_id, long code)
    @cython.locals(stream=Stream, held=cython.longlong)
    cpdef consumed(self, long stream_id, long long size)
    @cython.locals(stream=Stream)
    cpdef long long room(self, long stream_id) except -1
    @cython.locals(size=Py_ssize_t, room=cython.longlong, at=cython.longlong, last=bint, part=bytes)
    cpdef long long _send_now(self, Stream stream, bytes piece, bint end) except -1
    cpdef _give_back(self, long long size)
    cpdef _give_back_stream(self, Stream stream, long long size)
    @cython.locals(ready=dict, stream_id=long, stream=Stream, queue=bytearray, size=cython.longlong, piece=bytes, end=bint, waiting=bint)
    cpdef _pump(self)
    cpdef _block_out(self, Stream stream, bytes block, bint end)
    cpdef _local_end(self, Stream stream)
    @cython.locals(stream_id=long)
    cpdef _close(self, Stream stream)
    @cython.locals(stream_id=long)
    cpdef _drop(self, Stream stream, bint ours)
    cpdef _remember(self, long stream_id)
