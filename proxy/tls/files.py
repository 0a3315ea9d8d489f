"""The files of TLS as files: opened with care, and told apart. Whatever is wrong says which file, and what to do.

cert   PEM, the leaf first, then what signed it, and so on; `hotswap check` warns of another order
key    PEM, not encrypted. Only OpenSSL reads it (`proxy.tls.openssl`): it never becomes a Python object
ca     PEM, one root or more
"""

from __future__ import annotations

import hashlib
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Final

from hotswap.errors import ConfigError

LARGEST: Final = 1 << 20
"""Bytes of a file: the roots of a whole system take a quarter of it."""
_BY_OTHERS: Final = 0o006


class Unusable(ConfigError):
    """A file that cannot be used; `path` is its path. The text begins with it and ends with the remedy."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path} {text}")
        self.path = path


def read_bytes(path: str) -> bytes:
    """A small file. Raises `Unusable`."""
    with _opened(path) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unusable(path, f"is larger than {LARGEST >> 20} MB; is this a PEM file?")
    return data


def require_file(path: str) -> None:
    """Raises `Unusable` unless it is a regular file that this user can read: OpenSSL would wait for a pipe for ever."""
    _opened(path).close()


def refuse_encrypted(key: str) -> None:
    """Raises `Unusable` for a private key that takes a passphrase: PKCS #8 and the older form both say so in words."""
    content = _content(key)
    encrypted = b"ENCRYPTED" in content
    _wipe(content)
    if encrypted:
        how = "decrypt it: openssl pkey -in OLD -out NEW"
        raise Unusable(key, f"is encrypted, and nobody is there to type a passphrase; {how}")


def _content(path: str) -> bytearray:
    """What a file holds, for those who wipe it again: it may be a key."""
    with _opened(path) as file:
        content = bytearray(min(os.fstat(file.fileno()).st_size, LARGEST) + 1)
        del content[file.readinto(content) :]
    return content


def _wipe(content: bytearray) -> None:
    content[:] = bytes(len(content))


def _opened(path: str) -> FileIO:
    try:
        file = FileIO(path, opener=_without_waiting)
    except (OSError, ValueError) as error:
        words = (getattr(error, "strerror", None) or str(error)).lower()
        raise Unusable(path, f"cannot be read: {words}; name a file that this user can read") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Unusable(path, "is no regular file; name a PEM file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def fingerprint(path: str) -> str:
    """A digest of the contents, to tell whether they changed; why there is none if it cannot be read."""
    try:
        content = _content(path)
    except Unusable as error:
        return str(error)
    digest = hashlib.sha256(content).hexdigest()
    _wipe(content)
    return digest


def exposed(key: str) -> str:
    """Why the file of a key is not safe, or nothing."""
    try:
        mode = Path(key).stat().st_mode
    except OSError:
        return ""
    if not mode & _BY_OTHERS:
        return ""
    return f"every user of this machine can read or write {key}; chmod o-rw it"
