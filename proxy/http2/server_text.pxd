# How server_text.py is laid out when it is compiled: see proxy/compiled.py.

cimport cython

@cython.locals(lines=list, line=bytes, method=bytes, target=bytes, authority=bytes, protocol=bytes, key=bytes, name=bytes, value=bytes, length=cython.longlong, fields=list, pseudo=list)
cpdef request_fields(bytes raw, bint secure, sealed=*)
@cython.locals(status=bytes, name=bytes, value=bytes, parts=list, sized=bint, none=bint, wraps=bint)
cpdef tuple response_text(fields, bint ended, bint bodyless)
