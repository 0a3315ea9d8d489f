"""HTTP/2 (RFC 9113, RFC 7541): the protocol of a connection as a value, and the sides of the proxy that speak it.

session     one connection's protocol, in either role: begin, end, save, load
owner       what a session tells the connection that owns it
outgoing    verbs that send, windows, queues        incoming    DATA and HEADERS
controls    all other frames                        stream      the record of one stream
heads       which header lists are messages         settings    what both sides agree upon
frame       the format of frames                    budget      what is put up with, and how much of it
errors      error codes
hpack       header lists in few bytes               literals    what the encoder writes that is in no table
huffman     the code of their strings               static_table
"""
