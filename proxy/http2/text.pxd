# How text.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http1.message cimport RequestHead
from proxy.http2.heads cimport Head
from proxy.http2.sealing cimport seal

@cython.locals(method=bytes, tail=bytes, lines=list, parts=list)
cpdef bytes request_text(Head head, bint ended)
@cython.locals(made=RequestHead)
cpdef RequestHead request_head(Head head, long most, bint ended)
cpdef bytes chunk(bytes piece)
cpdef bytes last_chunk(trailers)
@cython.locals(fields=list)
cpdef list response_fields(int status, bytes raw)
cpdef list answer_fields(int status, bytes raw, sealed, bint called)
cpdef trailer_fields(bytes section, sealed=*)
