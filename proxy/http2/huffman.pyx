"""The Huffman code of HPACK (RFC 7541 section 5.2), by C: see huffman.py, the twin in Python.

Half a byte at a time, by a table of what it does in each inner node of the code's tree: it completes one symbol at
most, since no code has less than 5 bits. 0.06 us for a path of 30 bytes, where the twin takes 1.5.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc

from proxy.http2.huffman_code import CODES, EOS, BadCode

DEF NODES = 256
DEF SHORT = 640
DEF LONGEST = 1024
DEF NO_SYMBOL = 0
DEF SYMBOL = 1
DEF END_OF_STRING = 2

QUICK = True
"""Decoding takes no longer than to remember it."""

cdef struct Step:
    unsigned char node
    unsigned char symbol
    unsigned char what

cdef Step steps[NODES][16]
cdef bint ends[NODES]
cdef unsigned int codes[256]
cdef unsigned char lengths[256]


cdef _fill():
    """The tables, from the codes."""
    cdef int node, half, bit, at, following
    nodes = [[0, 0]]
    for symbol, code in enumerate(CODES):
        node = 0
        for bit in [int(one) for one in code[:-1]]:
            following = nodes[node][bit]
            if not following:
                following = nodes[node][bit] = len(nodes)
                nodes.append([0, 0])
            node = following
        nodes[node][int(code[-1])] = -1 - symbol
        if symbol < 256:
            codes[symbol] = int(code, 2)
            lengths[symbol] = len(code)
    assert len(nodes) == NODES
    node = 0
    for _ in range(8):  # up to 7 bits, all of them 1
        ends[node] = True
        node = nodes[node][1]
    for at in range(NODES):
        for half in range(16):
            node = at
            steps[at][half].what = NO_SYMBOL
            for shift in (3, 2, 1, 0):
                node = nodes[node][half >> shift & 1]
                if node == -1 - EOS:
                    steps[at][half].what = END_OF_STRING
                    node = 0
                    break
                if node < 0:
                    steps[at][half].what = SYMBOL
                    steps[at][half].symbol = -1 - node
                    node = 0
            steps[at][half].node = node


_fill()


cdef Py_ssize_t _decode(const unsigned char *at, Py_ssize_t size, unsigned char *out) noexcept nogil:
    """Returns the length of the string, -1 if EOS is in it, -2 if it ends within a code."""
    cdef unsigned char *begin = out
    cdef const unsigned char *end = at + size
    cdef unsigned int node = 0
    cdef Step *step
    while at < end:
        step = &steps[node][at[0] >> 4]
        if step.what:
            if step.what == END_OF_STRING:
                return -1
            out[0] = step.symbol
            out += 1
        step = &steps[step.node][at[0] & 15]
        if step.what:
            if step.what == END_OF_STRING:
                return -1
            out[0] = step.symbol
            out += 1
        node = step.node
        at += 1
    return out - begin if ends[node] else -2


cpdef bytes decode(bytes coded):
    """The string. 8 codes are 5 bytes at least, so it has at most 8/5 of the length. Raises `BadCode`."""
    cdef unsigned char short_one[LONGEST]
    cdef unsigned char *into = short_one
    cdef Py_ssize_t size, count
    cdef bytes text = None
    if coded is None:
        raise TypeError("bytes are needed")
    size = PyBytes_GET_SIZE(coded)
    if size > SHORT:
        into = <unsigned char *> malloc(size * 8 // 5 + 1)
        if into is NULL:
            raise MemoryError
    try:
        count = _decode(<const unsigned char *> PyBytes_AS_STRING(coded), size, into)
        if count >= 0:
            text = PyBytes_FromStringAndSize(<char *> into, count)
    finally:
        if into is not short_one:
            free(into)
    if count == -1:
        raise BadCode("EOS in a string")
    if count == -2:
        raise BadCode("the padding is not that of EOS")
    return text


cpdef Py_ssize_t encoded_length(bytes text) except -1:
    """Bytes of the coded string."""
    cdef Py_ssize_t bits = 0
    cdef unsigned char octet
    for octet in text:
        bits += lengths[octet]
    return (bits + 7) // 8


cpdef bytes encode(bytes text):
    """The coded string."""
    cdef bytes coded = PyBytes_FromStringAndSize(NULL, encoded_length(text))
    cdef unsigned char *out = <unsigned char *> PyBytes_AS_STRING(coded)
    cdef unsigned long long bits = 0
    cdef int held = 0
    cdef unsigned char octet
    for octet in text:
        bits = bits << lengths[octet] | codes[octet]
        held += lengths[octet]
        while held >= 8:
            held -= 8
            out[0] = bits >> held & 0xFF
            out += 1
    if held:
        out[0] = (bits << (8 - held) | (0xFF >> held)) & 0xFF
    return coded
