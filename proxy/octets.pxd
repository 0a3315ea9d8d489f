# What octets.pyx offers to compiled modules: see proxy/compiled.py.

cpdef bytes cut(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef bytes hexadecimal(unsigned long long number)
