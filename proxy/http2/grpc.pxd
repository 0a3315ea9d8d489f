# How grpc.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.heads cimport Head

@cython.locals(called=bint, sealed=list)
cpdef tuple about(Head head)
