# How balance.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.endpoint cimport Endpoint

@cython.locals(total=cython.longlong, best=Endpoint, endpoint=Endpoint)
cpdef smooth_weighted(endpoints)
