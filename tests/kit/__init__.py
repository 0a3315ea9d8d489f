"""The test toolkit: real processes, real connections, and witnesses that notice a single wrong byte.

What is here::

    waiting       deadlines; the only place that waits for a condition
    ports         addresses nobody else uses
    companion     a process that belongs to one test and is spoken to in JSON lines
    frames        CRC-chained frames: a lost, doubled, swapped or altered byte cannot pass
    http          just enough HTTP/1.1 for both ends
    websocket     just enough RFC 6455 for both ends
    upstreams     the servers behind the proxy, and what they saw
    load          the clients before the proxy, and what they saw
    certificates  authorities and what they sign
    tls           contexts of Python's `ssl`, and a client whose records a test can cut
    conversation  bytes that keep flowing there and back
    programs      foreign programs, spoken to through their pipes
    tls_peers     those that speak TLS: OpenSSL, GnuTLS, node, nginx
    capture       FIN and RST segments on the wire
    relay         a proxy that fails on purpose, to test the kit itself
    offspring     every process a test caused, found and ended
    processes     `hotswap run` and its later generations
    stage         all of it, set up and taken down around one test

The `*_process` modules are programs of their own, so that a busy test never slows its witnesses down.
"""
