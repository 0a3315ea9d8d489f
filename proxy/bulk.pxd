# How bulk.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.calls cimport Calls
from proxy.connection cimport Connection

@cython.locals(target=Connection, moved=Py_ssize_t, size=Py_ssize_t, portion=int, left=bytes, reach=cython.longlong)
cpdef bint carry(Connection source, Calls calls, double now) except -1
