# The record layer in C behaves as its twin in Python, where it is documented: its types are the twin's.

from typing import Final

from proxy.tls.twin import Permit as Permit
from proxy.tls.twin import RecordLayer as RecordLayer
from proxy.tls.twin import Secrets as Secrets
from proxy.tls.twin import Vault as Vault

FORMAT: Final[int]
SUITES: Final[tuple[int, ...]]  # AES-GCM and ChaCha20-Poly1305

# Only C has a list of EVP contexts, native/contexts.c: at most so many directions of connections keep theirs.
def set_context_limit(limit: int, /) -> None: ...  # ValueError below 1
def contexts() -> int: ...
def openssl_version() -> str: ...
