"""Who may use keys, and how they travel: the twins of `Permit`, `Vault` and `Secrets` in C.

A child of a fork has the keys and the sequence numbers of its parent: whatever it sealed would use a nonce that the
parent uses as well. So nothing that was made before a fork is of use in the child.

Keys are Python objects here, and `end` can only drop them: their bytes stay in memory until it is used for something
else. In C they are overwritten.
"""

from __future__ import annotations

import os
import secrets as randomness
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.tls.errors import NotOwner
from proxy.tls.form import COUNT, OVERHEAD

if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

KEY: Final = 32
"""Bytes of a vault's key."""


class Epoch:
    """Counts the forks that led here."""

    now = 0

    @classmethod
    def forked(cls) -> None:
        """What is older belongs to the parent."""
        cls.now += 1


os.register_at_fork(after_in_child=Epoch.forked)


class Unshared:
    """Belongs to the process that made it, and cannot be copied: two under one key would use a nonce twice."""

    __slots__ = ("_epoch",)

    def __init__(self) -> None:
        self._epoch = Epoch.now

    def check_epoch(self) -> None:
        """Raise `NotOwner` in a child that was forked since."""
        if self._epoch != Epoch.now:
            raise NotOwner("this was made before a fork: it belongs to the process that made it")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied: two under one key would use a nonce twice")


class Permit(Unshared):
    """Whether this process may seal and open. One for an ownership period, shared by all layers made under it."""

    __slots__ = ("_ended", "_granted")

    def __init__(self) -> None:
        super().__init__()
        self._granted = False
        self._ended = False

    @property
    def granted(self) -> bool:
        """False also in a child after a fork."""
        return self._granted and self._epoch == Epoch.now

    def grant(self) -> None:
        """This process owns. Raises `NotOwner` after `end`."""
        self.check_epoch()
        if self._ended:
            raise NotOwner("this permit has ended: ownership was given away for good")
        self._granted = True

    def revoke(self) -> None:
        """It does not, for now."""
        self._granted = False

    def end(self) -> None:
        """It never will again."""
        self._ended = True
        self._granted = False


class Vault(Unshared):
    """The key of one handover attempt, under which secrets travel. AES-256-GCM.

        wrapped:  | count u64 | ciphertext | tag 16 |       nonce: 4 zero bytes, count

    The count goes up with everything that is wrapped, so no nonce comes twice: the key lives in one process that
    wraps, and whoever reads it from a descriptor only unwraps. The one that wraps does not unwrap: what it saved
    would come to life a second time beside the connection that is still there.

    Using a vault after `end`, or the wrong way round, raises `ValueError`.
    """

    __slots__ = ("_cipher", "_count", "_key", "_made_here")

    def __init__(self) -> None:
        super().__init__()
        self._made_here = True
        self._count = 0
        self._key = bytearray(randomness.token_bytes(KEY))
        self._cipher: AESGCM | None = AESGCM(self._key)

    @staticmethod
    def read(fd: int) -> Vault:
        """From a descriptor that `write` filled. Raises `ValueError` if it holds something else, and `OSError`."""
        key = os.pread(fd, KEY + 1, 0)
        if len(key) != KEY or not any(key):
            raise ValueError("the descriptor holds no key of a vault")
        vault = Vault()
        vault._made_here = False
        vault._key = bytearray(key)
        vault._cipher = AESGCM(key)
        return vault

    def write(self, fd: int) -> None:
        """Put the key at the beginning of a memfd. Raises `OSError`."""
        self._usable(wraps=True)
        if os.pwrite(fd, self._key, 0) != KEY:
            raise OSError("the key of a vault was written in part only")

    def _usable(self, *, wraps: bool) -> AESGCM:
        self.check_epoch()
        if self._cipher is None:
            raise ValueError("this vault has ended")
        if wraps and not self._made_here:
            raise ValueError("this vault was read from a descriptor: it does not save")
        if self._made_here and not wraps:
            raise ValueError("this vault was made here: what it saved is restored elsewhere")
        return self._cipher

    def wrap(self, header: Buffer, secret: Buffer) -> bytes:
        """Encrypt `secret`, and bind it to `header`."""
        cipher = self._usable(wraps=True)
        self._count += 1  # before use: a failure can only skip one
        count = self._count.to_bytes(COUNT, "big")
        return count + cipher.encrypt(bytes(4) + count, secret, header)

    def unwrap(self, header: Buffer, wrapped: bytes) -> bytes:
        """The secret. Raises `ValueError` if it was wrapped under another key or header, or changed."""
        if len(wrapped) < OVERHEAD:
            raise ValueError("the state is cut off")
        cipher = self._usable(wraps=False)
        try:
            return cipher.decrypt(bytes(4) + wrapped[:COUNT], wrapped[COUNT:], header)
        except InvalidTag:
            raise ValueError("the state was saved under another vault, or was changed on its way") from None

    def end(self) -> None:
        """No state can be saved or restored with it any more."""
        self._cipher = None
        self._key[:] = bytes(KEY)


class Secrets(Unshared):
    """The secrets of one handshake, from lines in the key log format of NSS.

    LABEL client_random-in-hex secret-in-hex       three words, one space between them
    """

    __slots__ = ("_ended", "_found", "client_random")

    _SIZES: Final = {
        b"CLIENT_TRAFFIC_SECRET_0": (32, 48),
        b"SERVER_TRAFFIC_SECRET_0": (32, 48),
        b"CLIENT_RANDOM": (48,),
    }

    def __init__(self) -> None:
        super().__init__()
        self._ended = False
        self._found: dict[str, bytes] = {}
        self.client_random = b""
        """Of the handshake that the lines belong to."""

    def line(self, line: bytes) -> None:
        """Keep the secret of a line, if it is one that matters. Raises `ValueError` if it is cut off.

        In C the bytes of `line` itself are overwritten: it has to be an object that was made for this call.
        """
        self._usable()
        if type(line) is not bytes:
            raise TypeError("a line of the key log has to be bytes")
        label, space, rest = line.partition(b" ")
        if not space or label not in self._SIZES:
            return  # handshake secrets, exporters: none that we need
        try:
            random, secret = (bytes.fromhex(word.decode("ascii")) for word in rest.split(b" "))
        except ValueError:
            random = secret = b""
        spaced = len(rest) != 2 * len(random) + 1 + 2 * len(secret)  # `fromhex` passes over white space
        if spaced or len(random) != 32 or len(secret) not in self._SIZES[label]:
            raise ValueError("a line of the key log cannot be read")
        self.client_random = random
        self._found[label.decode("ascii")] = secret

    def take(self, label: str) -> bytes:
        """One secret by its label. Raises `ValueError` if no line had it.

        For the twin's layers, also beside secrets in C: from here on it is a Python object.
        """
        self._usable()
        secret = self._found.get(label)
        if secret is None:
            raise ValueError(f"the handshake's secrets lack {label}")
        return secret

    def _usable(self) -> None:
        self.check_epoch()
        if self._ended:
            raise ValueError("these secrets have ended")

    def end(self) -> None:
        """They are not needed any more."""
        self._ended = True
        self._found.clear()
