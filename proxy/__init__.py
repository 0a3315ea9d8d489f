"""The proxy: a reactor, TCP and HTTP/1.1 on it, and every live connection as a value that can move.

config      the file, checked and turned into values
server      `ProxyServer`: what `hotswap.generation.Generation` runs and replaces
cli         the commands run, check, schema
"""

from proxy import compiled as compiled
