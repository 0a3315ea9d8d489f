# What packing.pyx offers to compiled modules: see proxy/compiled.py.

cpdef bytes head(Py_ssize_t size, int kind, int flags, long stream_id)
cpdef long long front(bytes data, Py_ssize_t at) except -1
cpdef long stream_of(bytes data, Py_ssize_t at) except -1
