# How literals.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

from proxy.http2.huffman cimport encode, encoded_length

cpdef bint secret(bytes name, bytes value) except -1
@cython.locals(most=int, out=bytearray)
cpdef bytes integer(long long value, int bits, int first)
@cython.locals(out=bytes, length=Py_ssize_t)
cpdef bytes string(bytes text, bint memo)
cpdef bytes raw(bytes text)
@cython.locals(out=bytes)
cpdef bytes literal(field)
