# How sealing.py is laid out when it is compiled: see proxy/compiled.py.

cpdef seal(fields, sealed)
cpdef tuple sealed_of(fields)
