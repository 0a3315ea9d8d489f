"""HTTP/1.1 (RFC 9110, RFC 9112): a sans-IO codec, and the sessions of both sides of the proxy.

errors      what a message that cannot be served is refused with
fields      one header line: is it valid, and what does it mean to a proxy
head        a whole request or response head
parser      which parser of heads is on: that one, or the one in C (native/)
body        message bodies, cut out of the byte stream
state       the values: what a connection is in a snapshot
replies     the responses the proxy makes itself
forward     heads on their way to the other side
ending      how an exchange ends                    upload      request bodies
exchange    one request and its response            download    response bodies
pooled      a connection's place in the pool        upstream    whom we connect to
downstream  who connects to us
"""
