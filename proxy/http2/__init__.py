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

A stream is a message of HTTP/1.1 in between, so that all that lies there need not know of it:

text        a client's head as such text            server_text  the same towards endpoints
sealing     fields that no table may hold           grpc         calls, their timeouts and statuses
exchange    one stream of a client                  call         one request to an endpoint
streams     all of a client's connection            requests     all of a connection to an endpoint, and who waits
downstream  that connection                         living, upstream     that one: its life, and the rest of it
asking      health checks                           state        all of them in a snapshot
"""
