"""Loops over runs of frames, in C: see runs.py, the twin in Python.

No object is made for a frame. Bytes are read where they stand: nothing in a loop alters the size of the buffer.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.math cimport INFINITY
from libc.string cimport memcmp

from proxy.multiplexed.pending cimport Pending, Run
from proxy.multiplexed.pieces cimport reach

DEF NONE = -1
DEF NOBODY = -1
DEF SIZE = 16
DEF ID_AT = 4
DEF OK = 20
DEF SERIALIZATION = 0x1f
DEF CALL = 0xc0
DEF OTHER = 0xa0


cdef struct Frame:
    Py_ssize_t end
    long long number
    int flags
    int status


cdef inline unsigned long long four(const unsigned char *at) noexcept nogil:
    return <unsigned int>at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]


cdef inline void write(unsigned char *at, unsigned long long number) noexcept nogil:
    cdef int shift
    for shift in range(8):
        at[shift] = number >> (56 - 8 * shift) & 255


cdef inline bint see(const unsigned char *data, Py_ssize_t at, Py_ssize_t size, Py_ssize_t limit, Frame *frame) noexcept nogil:
    """Whether a whole frame is there, of which no more than `limit` bytes come behind the head.

    `frame.end` is told, too, if there is nothing wrong but that not all is there.
    """
    cdef const unsigned char *head = data + at
    cdef Py_ssize_t length
    if size - at < SIZE or head[0] != 0xda or head[1] != 0xbb:
        return False
    frame.flags, frame.status = head[2], head[3]
    frame.number = <long long>(four(head + 4) << 32 | four(head + 8))
    length = four(head + 12)
    if length > limit:
        return False
    frame.end = at + SIZE + length
    return frame.end <= size


cdef class Sight:
    """One frame, as it was looked at last."""

    cpdef bint call(self, bytearray buffer, Py_ssize_t at, Py_ssize_t limit) except -1:
        """Look at what begins there, of which there is a head. True if it is a plain call of so many bytes at most."""
        cdef Frame frame
        cdef Py_ssize_t size = reach(buffer, at)
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        frame.end = self.wanted = 0
        if not see(data, at, size, limit - SIZE, &frame):
            if frame.end and frame.flags & ~SERIALIZATION == CALL:
                self.wanted = frame.end - at
            return False
        self.end, self.number, self.status = frame.end, frame.number, frame.status
        return frame.flags & ~SERIALIZATION == CALL

    cpdef bint answer(self, bytearray buffer, Py_ssize_t at, Py_ssize_t limit) except -1:
        """The same for an answer, with so many bytes behind its head."""
        cdef Frame frame
        cdef Py_ssize_t size = reach(buffer, at)
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        frame.end = self.wanted = 0
        if not see(data, at, size, limit, &frame):
            if frame.end and not frame.flags & OTHER:
                self.wanted = frame.end - at
            return False
        self.end, self.number, self.status = frame.end, frame.number, frame.status
        return not frame.flags & OTHER


cdef class DubboCalls(Pending):
    """The calls under way on one connection, and the runs of frames that begin and end them."""

    cpdef Py_ssize_t pass_on(
        self,
        bytearray buffer,
        Py_ssize_t at,
        Py_ssize_t same,
        Py_ssize_t limit,
        caller,
        str route,
        double now,
        double until,
    ) except -1:
        """Add the plain calls that begin there, and give them ids of ours. Returns where they end.

        `same` tells how many: those that begin with so many bytes of the first one's body; -1: all of them; 0: one.
        `limit` is the length of the longest frame. All end by the same moment.
        """
        cdef Py_ssize_t size = reach(buffer, at), text = at + SIZE
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        cdef int seat = self._seat(caller), label = self._label(route)
        cdef long count = 0
        cdef Frame frame
        while see(data, at, size, limit - SIZE, &frame) and frame.flags & ~SERIALIZATION == CALL:
            if count and same > 0:
                if frame.end - at - SIZE < same or memcmp(data + at + SIZE, data + text, same):
                    break
            self._enter(frame.number, until, now, 0, 0, seat, label)
            count += 1
            write(data + at + ID_AT, self.last)
            at = frame.end
            if not same:
                break
        self.count, self.soonest = count, until if count else INFINITY
        return at

    cpdef Py_ssize_t give_back(self, bytearray buffer, Py_ssize_t at, Py_ssize_t limit, double now, observe) except -1:
        """Take out the calls that the plain answers from there on are for, and give those the ids that they had.

        Only those of one client by one route, which nobody looks at. Returns where they end.
        """
        cdef Py_ssize_t size = reach(buffer, at)
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        cdef int place
        cdef long wrong = 0
        cdef Run run = Run(NOBODY, 0, 0, 0, -1.0)
        cdef Frame frame
        while see(data, at, size, limit, &frame) and not frame.flags & OTHER:
            place = self._awaited(frame.number, &run)
            if place == NONE:
                break
            write(data + at + ID_AT, self._answered(place, &run, now, observe))
            wrong += frame.status != OK
            at = frame.end
        self._told(&run, wrong, now, observe)
        return at
