# What huffman.pyx offers to compiled modules: see proxy/compiled.py.

cpdef bytes decode(bytes coded)
cpdef Py_ssize_t encoded_length(bytes text) except -1
cpdef bytes encode(bytes text)
