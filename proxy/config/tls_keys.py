"""The keys of TLS, of listeners and clusters. See `keys`; what they mean together, `tls_checks`."""

from __future__ import annotations

from typing import get_args

from hotswap.settings.kinds import Choice, Count, Duration, Flag
from hotswap.settings.sections import Items, Key, Section
from proxy.config import tls_model
from proxy.config.tls_kinds import CERTIFICATE_NAMES, FILE, ONE_HOST, PROTOCOLS, Ciphers, Switch

_VERSIONS = Choice(get_args(tls_model.TlsVersion))
_USUAL = "AES-GCM and ChaCha20-Poly1305 with ephemeral keys"

CERTIFICATE = Section(
    "certificate",
    tls_model.CertificateConfig,
    "Two PEM files. Relative paths are relative to the directory of the configuration file.",
    (
        Key(
            "cert",
            FILE,
            "The certificate, then those that lead from it to the root, in this order, without the root itself.",
            required=True,
            example="edge.pem",
        ),
        Key(
            "key",
            FILE,
            "Its private key, not encrypted. Nobody else should be able to read it.",
            required=True,
            example="edge.key",
        ),
    ),
)

CLIENT_CERTIFICATES = Section(
    "client_certificates",
    tls_model.ClientCertificatesConfig,
    "Clients are asked for a certificate (mutual TLS).",
    (
        Key("mode", Choice(get_args(tls_model.ClientMode)), "With `optional`, clients without one are served, too."),
        Key("ca", FILE, "The roots that sign them, PEM.", required=True, example="clients.pem"),
        Key(
            "sans",
            CERTIFICATE_NAMES,
            "Their certificate must have one of these names: host names, `*.example.com` for all below it, URIs, mail "
            "addresses, IP addresses.",
            example="[spiffe://prod/web]",
            absent="all that `ca` signed",
        ),
    ),
)

LISTENER_TLS = Section(
    "listener tls",
    tls_model.ListenerTlsConfig,
    "Clients speak TLS 1.2 or 1.3, see [TLS](tls.md). Files are read again when they change.",
    (
        Key(
            "certificates",
            Items(CERTIFICATE),
            "The client's host name (SNI) chooses: the first that has this very name, else the first with a fitting "
            "wildcard, else the first of all.",
            required=True,
            example="[{cert: edge.pem, key: edge.key}]",
        ),
        Key("min_version", _VERSIONS, "The lowest version that is spoken."),
        Key(
            "ciphers",
            Ciphers(),
            "Cipher suites of both versions by OpenSSL's names, best first. Only AEAD ones are known.",
            example="[TLS_AES_128_GCM_SHA256, ECDHE-ECDSA-AES128-GCM-SHA256]",
            absent=_USUAL,
        ),
        Key(
            "alpn",
            PROTOCOLS,
            "Protocols to agree on by ALPN, best first. A client that offers only others is refused, one that offers "
            "none is served.",
            example="[http/1.1]",
            absent="`[http/1.1]` for http1, none else",
        ),
        Key("client_certificates", CLIENT_CERTIFICATES, "Asks clients for a certificate.", absent="not asked"),
        Key("tickets", Flag(), "Whether clients may resume sessions by tickets; a new generation knows no old ones."),
        Key("handshake_timeout", Duration(), "For the whole handshake. Then the connection is closed."),
    ),
)

CLUSTER_TLS = Section(
    "cluster tls",
    tls_model.ClusterTlsConfig,
    "Connections to the endpoints speak TLS 1.2 or 1.3, checks included, see [TLS](tls.md); `{}` takes the defaults.",
    (
        Key("ca", FILE, "The roots that are trusted, PEM.", example="ca.pem", absent="those of the system"),
        Key(
            "verify",
            Flag(),
            "With `false`, whoever answers is trusted: anybody on the way can read and change everything.",
        ),
        Key(
            "sans",
            CERTIFICATE_NAMES,
            "The certificate must have one of these names, in the forms that `client_certificates` takes, instead of "
            "the name of the endpoint.",
            example="[spiffe://prod/db]",
            absent="the host of the endpoint, or `sni`",
        ),
        Key(
            "sni",
            ONE_HOST,
            "The host name that endpoints are asked for, and that their certificate must have unless there are `sans`.",
            example="db.example.com",
            absent="the host of the endpoint, if it is a name",
        ),
        Key("certificate", CERTIFICATE, "What is shown to endpoints that ask for one.", absent="none"),
        Key("alpn", PROTOCOLS, "Protocols to offer by ALPN.", example="[http/1.1]", absent="none"),
        Key("min_version", _VERSIONS, "The lowest version that is spoken."),
        Key(
            "ciphers",
            Ciphers(),
            "As those of a listener.",
            example="[TLS_AES_128_GCM_SHA256]",
            absent=_USUAL,
        ),
    ),
)

WANTED = Switch(get_args(tls_model.Wanted))
ANNOUNCES = Choice(get_args(tls_model.Announced))

ENCRYPTION = Section(
    "encryption",
    tls_model.EncryptionConfig,
    "Connections that do not fit are replaced while they serve, and then retire; see "
    "[From plaintext to TLS](encryption.md). A plain `on`, `off` or `follow` stands for `wanted`.",
    (
        Key(
            "wanted",
            WANTED,
            "Whether connections are encrypted. `follow`: those to endpoints that announce `tls`. `on` and `follow` "
            "need the cluster's `tls`.",
        ),
        Key(
            "strict",
            Flag(),
            "With `true`, requests fail where TLS is wanted and cannot be had; with `false` they go in plaintext then.",
        ),
        Key("percent", Count(0, 100), "So many of the connections that are to be encrypted are; at least one, but 0."),
        Key("ramp", Duration(), "The share grows evenly for so long.", example="10m", absent="at once"),
        Key("retry", Duration(), "After a failure TLS is tried again; then after twice as long, and so on."),
        Key("max_retry", Duration(), "The longest time between two attempts."),
        Key(
            "retire_timeout",
            Duration(),
            "A connection that was replaced is closed by the endpoint, which hears no heartbeats any more (bolt, "
            "dubbo); or after so long by us, once nothing is under way on it.",
        ),
        Key(
            "announcements",
            FILE,
            "A YAML file of `address: tls` or `address: plaintext`, one line an endpoint. It is read again when it "
            "changes.",
            example="announced.yaml",
            absent="none",
        ),
    ),
    shorthand="wanted",
)

TLS_SECTIONS = (LISTENER_TLS, CERTIFICATE, CLIENT_CERTIFICATES, CLUSTER_TLS, ENCRYPTION)
