"""The configuration of TLS as values. See `model`; paths are absolute."""

from __future__ import annotations

from typing import Literal

import msgspec

TlsVersion = Literal["1.2", "1.3"]
TlsMode = Literal["required", "permissive"]
ClientMode = Literal["required", "optional"]
Wanted = Literal["off", "on", "follow"]
Announced = Literal["plaintext", "tls"]


class CertificateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its chain, and its private key: PEM files."""

    cert: str
    key: str


class ClientCertificatesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Whose certificates are asked of clients.

    ``sans`` are the names that are admitted, as `proxy.tls.names` writes them; none admits whatever ``ca`` signed.
    """

    mode: ClientMode = "required"
    ca: str
    sans: tuple[str, ...] = ()


class ListenerTlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener shows to its clients, and asks of them.

    No ``ciphers``: the usual ones (see `proxy.tls.policy`). No ``alpn``: no protocol is negotiated. A handshake that
    takes longer than ``handshake_timeout`` seconds is given up.
    """

    certificates: tuple[CertificateConfig, ...]
    min_version: TlsVersion = "1.2"
    ciphers: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()
    client_certificates: ClientCertificatesConfig | None = None
    tickets: bool = True
    handshake_timeout: float = 10.0


class ClusterTlsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the endpoints of a cluster are talked to by TLS.

    ``ca`` None: the trust store of the system. With ``verify`` the certificate must be for one of ``sans`` if there
    are any, else for ``sni``, else for the host of the endpoint. ``sni`` None: that host, if it is a name.
    """

    ca: str | None = None
    verify: bool = True
    sans: tuple[str, ...] = ()
    sni: str | None = None
    certificate: CertificateConfig | None = None
    alpn: tuple[str, ...] = ()
    min_version: TlsVersion = "1.2"
    ciphers: tuple[str, ...] = ()


class EncryptionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the connections to a cluster's endpoints are encrypted, and how they get there. See `proxy.encryption`.

    ``follow``: as each endpoint announces. ``percent`` of the connections are, where it is wanted, reached evenly
    within ``ramp`` seconds (None: at once). Where TLS cannot be had plaintext serves and it is tried again after
    ``retry`` seconds, each time twice as long up to ``max_retry``; not so if ``strict``. What a connection that was
    replaced still waits for takes ``retire_timeout`` seconds. ``announcements``: an absolute path.
    """

    wanted: Wanted = "on"
    strict: bool = False
    percent: int = 100
    ramp: float | None = None
    retry: float = 1.0
    max_retry: float = 60.0
    retire_timeout: float = 300.0
    announcements: str | None = None
