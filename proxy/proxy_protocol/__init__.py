"""The PROXY protocol, versions 1 and 2: a header at the beginning of a connection tells whose it is.

`header` is the format, `receiving` takes headers from trusted proxies, `sending` writes them to endpoints.
"""
