"""TLS as a value.

    handshake (OpenSSL, memory BIOs) --secrets, sequence numbers--> record layer (ours): a value like any other

A connection cuts over to our own record layer as soon as its handshake is done, so everything that lasts can be
written down, and moved at any byte. Handshakes cannot; they are short.
"""
