"""The system calls that a tick makes for every connection, from C: see calls.py, the twin in Python.

Reading goes by one buffer that all share, and from there into a `bytes` of the right size: an object made in the size
asked for and cut to what came costs more (two calls of the allocator). Not so where much is asked for, which nearly
always comes: to copy 64 KB once more costs 80 us a megabyte. The interpreter's lock is kept, for no call of a
data plane's descriptor waits; `wait` gives it up, unless it is only to look.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOSYS, EOPNOTSUPP, EPERM, errno
from libc.math cimport ceil
from libc.string cimport memcpy

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    const int MSG_NOSIGNAL
    const int MSG_DONTWAIT

cdef extern from "fcntl.h" nogil:
    const int O_CLOEXEC
    const int O_NONBLOCK
    const int F_SETPIPE_SZ
    const unsigned int SPLICE_F_MOVE
    const unsigned int SPLICE_F_NONBLOCK
    int fcntl(int fd, int what, int value)
    ssize_t c_splice "splice" (int source, void *at, int target, void *to, size_t size, unsigned int flags)

cdef extern from "unistd.h" nogil:
    int c_close "close" (int fd)
    int pipe2(int *ends, int flags)
    ssize_t c_read "read" (int fd, void *buffer, size_t size)

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    const int EPOLL_CLOEXEC
    const int EPOLL_CTL_ADD
    const int EPOLL_CTL_MOD
    const int EPOLL_CTL_DEL
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)

DEF LARGEST = 65536
DEF LARGEST_PIPE = 1048576
DEF COPIED = 16384
DEF MOST_EVENTS = 256
DEF LONGEST = 1000000.0

MOST = MOST_EVENTS

cdef char came[LARGEST]


cdef class Calls:
    """Failures are `OSError`; EAGAIN is one, and tells that there is nothing now, or no room."""

    def __cinit__(self):
        self.left = b""
        self._into = self._out = -1
        self.splices = True

    def __dealloc__(self):
        self.close()

    cpdef bytes read(self, int fd, Py_ssize_t size):
        """Bytes that came, up to `size` (at most 64 KB); none at the end: recv(2)."""
        cdef ssize_t count
        cdef bytes whole = None
        cdef char *into = came
        if size > LARGEST:
            size = LARGEST
        if size > COPIED:
            whole = PyBytes_FromStringAndSize(NULL, size)
            into = PyBytes_AS_STRING(whole)
        while True:
            count = recv(fd, into, size, MSG_DONTWAIT)
            if count == size and whole is not None:
                return whole
            if count >= 0:
                return PyBytes_FromStringAndSize(into, count)
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)

    cpdef Py_ssize_t append(self, int fd, bytearray buffer, Py_ssize_t size, bint much) except -1:
        """The same, behind what is there: for whoever alters what came. `much` will come, by all appearances.

        Much goes there at once, and is not copied: what was not needed of the room is given back.
        """
        cdef Py_ssize_t before = len(buffer)  # which a None has not
        cdef ssize_t count
        cdef char *into = came
        if type(self) is not Calls:
            data = self.read(fd, size)
            buffer += data
            return len(data)
        if size > LARGEST:
            size = LARGEST
        if much:
            PyByteArray_Resize(buffer, before + size)
            into = PyByteArray_AS_STRING(buffer) + before
        while True:
            count = recv(fd, into, size, MSG_DONTWAIT)
            if count >= 0:
                break
            if errno != EINTR:
                try:
                    PyErr_SetFromErrno(OSError)
                finally:
                    if much:
                        PyByteArray_Resize(buffer, before)
        PyByteArray_Resize(buffer, before + count)
        if not much:
            memcpy(PyByteArray_AS_STRING(buffer) + before, came, count)
        return count

    cpdef Py_ssize_t write(self, int fd, data) except -1:
        """How many bytes the socket took: send(2)."""
        cdef const char *at
        cdef Py_ssize_t size
        cdef ssize_t count
        if type(data) is bytes:
            at = PyBytes_AS_STRING(data)
            size = PyBytes_GET_SIZE(data)
        elif type(data) is bytearray:
            at = PyByteArray_AS_STRING(data)
            size = PyByteArray_GET_SIZE(data)
        else:
            raise TypeError("bytes or a bytearray")
        while True:
            count = send(fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if count >= 0:
                return count
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)

    cpdef Py_ssize_t relay(self, int source, int target, Py_ssize_t size) except -1:
        """Write to one what comes from the other. Returns how many bytes came, 0 at the end.

        Failures are those of reading. What could not be written, for whatever reason, is in `left`.
        """
        cdef ssize_t count, sent
        if type(self) is not Calls:
            return self._relay_otherwise(source, target, size)
        if size > LARGEST:
            size = LARGEST
        self.left = b""
        while True:
            count = recv(source, came, size, MSG_DONTWAIT)
            if count >= 0:
                break
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
        if count:
            sent = send(target, came, count, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:  # who writes it next will hear of it
                sent = 0
            if sent < count:
                self.left = PyBytes_FromStringAndSize(came + sent, count - sent)
        return count

    cpdef Py_ssize_t splice(self, int source, int target, Py_ssize_t size) except -1:
        """Do as `relay` does by reference: the bytes are not copied. 0 also if nothing is there now.

        Between the two is a pipe, which is empty again whenever this returns: what the target did not take is in
        `left`. Where it cannot be had, or is not for these descriptors, this relays; `splices` tells.
        """
        cdef ssize_t came_in, gone
        cdef Py_ssize_t inside
        if type(self) is not Calls:
            return self._relay_otherwise(source, target, size)
        if not self.splices or (self._out < 0 and not self._open()):
            return self.relay(source, target, size)
        self.left = b""
        while True:
            came_in = c_splice(source, NULL, self._into, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
            if came_in >= 0:
                break
            if errno == EAGAIN:
                return 0
            if errno == EINVAL or errno == ENOSYS or errno == EOPNOTSUPP or errno == EPERM:  # not here, or filtered
                self.splices = False
                return self.relay(source, target, size)
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
        inside = came_in
        while inside:
            gone = c_splice(self._out, NULL, target, NULL, inside, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
            if gone > 0:
                inside -= gone
            elif gone == 0 or errno != EINTR:  # no room, or a failure: who writes it next will hear of it
                break
        if inside:
            self._rest(inside)
        return came_in

    cdef bint _open(self):
        """Make the pipe. Without descriptors there is none for now."""
        cdef int ends[2]
        if pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0:
            return False
        self._out, self._into = ends[0], ends[1]
        fcntl(self._into, F_SETPIPE_SZ, LARGEST_PIPE)  # where packets are small, more of them go into one portion
        return True

    cdef _rest(self, Py_ssize_t size):
        """Take out of the pipe what could not be written."""
        cdef bytes rest = PyBytes_FromStringAndSize(NULL, size)
        cdef Py_ssize_t at = 0
        cdef ssize_t count
        while at < size:
            count = c_read(self._out, PyBytes_AS_STRING(rest) + at, size - at)
            if count > 0:
                at += count
            elif count == 0 or errno != EINTR:  # cannot be, and what is in there must not reach anybody else
                self.close()
                raise OSError(EIO, "a pipe lost bytes")
        self.left = rest

    cpdef close(self):
        """Give the pipe back; another one is made when it is needed."""
        if self._out >= 0:
            c_close(self._out)
            c_close(self._into)
            self._out = self._into = -1

    cdef Py_ssize_t _relay_otherwise(self, int source, int target, Py_ssize_t size) except -1:
        """The same for those who read and write otherwise."""
        cdef bytes data = self.read(source, size)
        cdef Py_ssize_t sent = 0
        self.left = b""
        if data:
            try:
                sent = self.write(target, data)
            except OSError:
                pass
            if sent < len(data):
                self.left = data[sent:]
        return len(data)


cdef class Poller:
    """Descriptors with masks of EPOLLIN and so on, and what became of them.

    After `wait` the first events stand in `fds` and `masks`, side by side.
    """

    def __cinit__(self):
        self._fd = -1

    def __init__(self):
        self._fd = epoll_create1(EPOLL_CLOEXEC)
        if self._fd < 0:
            PyErr_SetFromErrno(OSError)

    def __dealloc__(self):
        if self._fd >= 0:
            c_close(self._fd)

    cpdef int fileno(self) except? -1:
        """The descriptor of the instance itself; -1 when it is closed."""
        return self._fd

    cpdef close(self):
        """Forget all registrations."""
        if self._fd >= 0:
            c_close(self._fd)
            self._fd = -1

    cdef _control(self, int what, int fd, unsigned int mask):
        cdef epoll_event event
        event.events = mask
        event.data.fd = fd
        if self._fd < 0:
            raise ValueError("it is closed")
        if epoll_ctl(self._fd, what, fd, &event) < 0:
            PyErr_SetFromErrno(OSError)

    cpdef register(self, int fd, unsigned int mask):
        """EPOLL_CTL_ADD."""
        self._control(EPOLL_CTL_ADD, fd, mask)

    cpdef modify(self, int fd, unsigned int mask):
        """EPOLL_CTL_MOD."""
        self._control(EPOLL_CTL_MOD, fd, mask)

    cpdef unregister(self, int fd):
        """EPOLL_CTL_DEL."""
        self._control(EPOLL_CTL_DEL, fd, 0)

    cpdef int wait(self, double timeout) except -1:
        """How many events there are by now, or after `timeout` seconds at most (inf: no end): epoll_wait(2)."""
        cdef epoll_event events[MOST_EVENTS]
        cdef int count, at, milliseconds
        if self._fd < 0:
            raise ValueError("it is closed")
        if timeout <= 0:
            count = epoll_wait(self._fd, events, MOST_EVENTS, 0)
        else:
            milliseconds = <int>ceil(timeout * 1000) if timeout < LONGEST else -1
            with nogil:
                count = epoll_wait(self._fd, events, MOST_EVENTS, milliseconds)
        if count < 0:
            if errno == EINTR:
                PyErr_CheckSignals()
                return 0
            PyErr_SetFromErrno(OSError)
        for at in range(count):
            self.fds[at] = events[at].data.fd
            self.masks[at] = events[at].events
        return count

    cpdef int hold(self, events) except -1:
        """Have these, of descriptors and masks, as the events of the last look. Returns how many there are."""
        cdef int count = 0
        for fd, mask in events[:MOST_EVENTS]:
            self.fds[count] = fd
            self.masks[count] = mask
            count += 1
        return count

    def poll(self, double timeout=0.0):
        """The same as a list, for whoever is in no hurry."""
        cdef int at
        return [(self.fds[at], self.masks[at]) for at in range(self.wait(timeout))]
