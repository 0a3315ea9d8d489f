# What calls.pyx offers to compiled modules: see proxy/compiled.py.

cdef class Calls:
    cdef public bytes left
    cdef int _into
    cdef int _out
    cdef public bint splices

    cpdef bytes read(self, int fd, Py_ssize_t size)
    cpdef Py_ssize_t append(self, int fd, bytearray buffer, Py_ssize_t size, bint much) except -1
    cpdef Py_ssize_t write(self, int fd, data) except -1
    cdef Py_ssize_t _relay_otherwise(self, int source, int target, Py_ssize_t size) except -1
    cpdef Py_ssize_t relay(self, int source, int target, Py_ssize_t size) except -1
    cpdef Py_ssize_t splice(self, int source, int target, Py_ssize_t size) except -1
    cdef bint _open(self)
    cdef _rest(self, Py_ssize_t size)
    cpdef close(self)

cdef class Poller:
    cdef int _fd
    cdef int[256] fds
    cdef unsigned int[256] masks

    cdef _control(self, int what, int fd, unsigned int mask)
    cpdef int fileno(self) except? -1
    cpdef close(self)
    cpdef register(self, int fd, unsigned int mask)
    cpdef modify(self, int fd, unsigned int mask)
    cpdef unregister(self, int fd)
    cpdef int wait(self, double timeout) except -1
    cpdef int hold(self, events) except -1
