"""Loops over runs of frames, in C: see runs.py, the twin in Python.

No object is made for a frame, but where it has a CRC. Bytes are read where they stand: nothing in a loop alters the
size of the buffer, so they stay there.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.math cimport INFINITY
from libc.string cimport memcmp

from proxy.multiplexed.pending cimport Pending, Run
from proxy.multiplexed.pieces cimport reach

from proxy.bolt.frame import crc_fits, write_crc
from proxy.multiplexed.wire import SAME as _SAME, SINGLE as _SINGLE

DEF NONE = -1
DEF NOBODY = -1
DEF CRC_SIZE = 4
DEF ANSWER = 0
DEF CALL = 1

cdef int SAME = _SAME
cdef int SINGLE = _SINGLE


cdef struct Frame:
    Py_ssize_t header
    Py_ssize_t header_end
    Py_ssize_t end
    unsigned int number
    int word
    int codec
    int ver1
    bint has_crc


cdef inline unsigned int two(const unsigned char *at) noexcept nogil:
    return at[0] << 8 | at[1]


cdef inline unsigned int four(const unsigned char *at) noexcept nogil:
    return <unsigned int>at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]


cdef inline void write(unsigned char *at, unsigned int number) noexcept nogil:
    at[0], at[1], at[2], at[3] = number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255


cdef bint see(const unsigned char *data, Py_ssize_t at, Py_ssize_t size, int kind, Frame *frame) noexcept nogil:
    """Whether a whole call or answer begins there, but for its CRC: `frame` tells of it.

    `frame.end` is told, too, if there is nothing wrong but that not all is there.
    """
    cdef const unsigned char *head = data + at
    cdef Py_ssize_t left = size - at
    cdef int shift, class_length, header_length
    if left < 20:
        return False
    shift = head[0] - 1
    if shift != 0 and shift != 1:
        return False
    frame.ver1 = head[1] if shift else 0
    if shift and frame.ver1 != 1 and frame.ver1 != 2:
        return False
    head += shift
    if head[1] != kind or head[2] != 0 or head[3] != 2 - kind:
        return False
    frame.number = four(head + 5)
    if shift:  # the switch is between codec and what follows
        frame.codec = two(head + 9)
        head += 1
    else:
        frame.codec = head[9]
    if kind == CALL:
        if left < 22 + 2 * shift:
            return False
        frame.word = <int>four(head + 10)
        head += 14
        frame.header = at + 22 + 2 * shift
    else:
        if left < 20 + 2 * shift:
            return False
        frame.word = two(head + 10)
        head += 12
        frame.header = at + 20 + 2 * shift
    class_length, header_length = two(head), two(head + 2)
    if (class_length | header_length) & 0x8000:
        return False
    frame.header += class_length
    frame.header_end = frame.header + header_length
    frame.end = frame.header_end + four(head + 4)
    frame.has_crc = frame.ver1 == 2 and frame.codec & 1
    if frame.has_crc:
        frame.end += CRC_SIZE
    return frame.end <= size


cdef class Sight:
    """One frame, as it was looked at last."""

    cpdef bint call(self, bytearray buffer, Py_ssize_t at) except -1:
        """Look at what begins there. True if it is a plain call."""
        return self._see(buffer, at, CALL)

    cpdef bint answer(self, bytearray buffer, Py_ssize_t at, int version) except -1:
        """The same for an answer of that version."""
        self.wanted = 0
        reach(buffer, at)
        return <unsigned char>PyByteArray_AS_STRING(buffer)[at] == version and self._see(buffer, at, ANSWER)

    cdef bint _see(self, bytearray buffer, Py_ssize_t at, int kind) except -1:
        cdef Frame frame
        cdef Py_ssize_t size = reach(buffer, at)
        frame.end = self.wanted = 0
        if not see(<unsigned char *>PyByteArray_AS_STRING(buffer), at, size, kind, &frame):
            if frame.end:
                self.wanted = frame.end - at
            return False
        self.end, self.header, self.header_end = frame.end, frame.header, frame.header_end
        self.codec, self.number, self.status, self.ver1 = frame.codec, frame.number, frame.word, frame.ver1
        return not frame.has_crc or crc_fits(buffer, at, frame.end)


cdef class BoltCalls(Pending):
    """The calls under way on one connection, and the runs of frames that begin and end them."""

    cpdef Py_ssize_t pass_on(
        self, bytearray buffer, Py_ssize_t at, int alike, caller, str route, double now, double patience
    ) except -1:
        """Add the plain calls of one version that begin there, and give them ids of ours. Returns where they end.

        `alike` tells how many of them: see `proxy.multiplexed.wire`.
        """
        cdef Py_ssize_t size = reach(buffer, at), header = 0, length = 0
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        cdef int version = data[at], id_at = 4 + data[at], seat = self._seat(caller), label = self._label(route)
        cdef long count = 0
        cdef double until, soonest = INFINITY
        cdef Frame frame
        while at < size and data[at] == version and see(data, at, size, CALL, &frame):
            if alike == SAME:
                if not count:
                    header, length = frame.header, frame.header_end - frame.header
                elif frame.header_end - frame.header != length or memcmp(data + frame.header, data + header, length):
                    break
            if frame.has_crc and not crc_fits(buffer, at, frame.end):
                break
            until = now + (frame.word * 0.001 if frame.word > 0 else patience)
            if until < soonest:
                soonest = until
            self._enter(frame.number, until, now, frame.codec, frame.ver1, seat, label)
            count += 1
            write(data + at + id_at, <unsigned int>self.last)
            if frame.has_crc:
                write_crc(buffer, at, frame.end)
            at = frame.end
            if alike == SINGLE:
                break
        self.count, self.soonest = count, soonest
        return at

    cpdef Py_ssize_t give_back(self, bytearray buffer, Py_ssize_t at, int version, double now, observe) except -1:
        """Take out the calls that the plain answers from there on are for, and give those the ids that they had.

        Only those of one client by one route, which nobody looks at. Returns where they end.
        """
        cdef Py_ssize_t size = reach(buffer, at)
        cdef unsigned char *data = <unsigned char *>PyByteArray_AS_STRING(buffer)
        cdef int id_at = 4 + version, place
        cdef long wrong = 0
        cdef Run run = Run(NOBODY, 0, 0, 0, -1.0)
        cdef Frame frame
        while at < size and data[at] == version and see(data, at, size, ANSWER, &frame):
            place = self._awaited(frame.number, &run)
            if place == NONE:
                break
            if frame.has_crc and not crc_fits(buffer, at, frame.end):
                break
            write(data + at + id_at, <unsigned int>self._answered(place, &run, now, observe))
            wrong += frame.word != 0
            if frame.has_crc:
                write_crc(buffer, at, frame.end)
            at = frame.end
        self._told(&run, wrong, now, observe)
        return at
