"""The access log of a listener: exactly one line for each request, whichever generations it spans.

record      what is known of a request so far: a part of its connection's value
template    how a line looks
log         what a listener writes to
sinks       where lines go: a thread a target, so that no disk ever holds up the data plane

The line is written by the generation in which the request ends. Until then its record moves with its connection.
"""
