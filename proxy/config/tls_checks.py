"""What keys of TLS mean for each other. What is in the files: `tls_files`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.reach import named
from proxy.config.tls_model import EncryptionConfig
from proxy.tls.policy import has_short_tag, is_13, is_forward_secret

if TYPE_CHECKING:
    from hotswap.settings.problems import Problems
    from hotswap.settings.reader import Part

_OF_HTTP1 = ("http/1.1", "http/1.0")


def check_tls(listeners: list[Part], clusters: list[Part], problems: Problems) -> None:
    """All checks that need no file."""
    for listener in listeners:
        tls: Part | None = listener.value("tls")
        _modes(listener, problems)
        _passed_through(listener, problems)
        if tls is not None:
            _ciphers(tls, problems)
            _plaintext_clients(listener, tls, problems)
        if listener.value("protocol") == "http1":
            _protocols(tls, problems, http2=bool(listener.value("http2")))
    for cluster in clusters:
        tls = cluster.value("tls")
        if tls is not None:
            _ciphers(tls, problems)
            _trust(cluster, tls, problems)
        _wanted(cluster, problems)
    of_http1 = {part.value(key) for one in listeners if one.value("protocol") == "http1" for part, key in named(one)}
    for cluster in clusters:
        if cluster.value("http2"):
            _only_http2(cluster.value("tls"), problems)
        elif cluster.value("name") in of_http1:
            _protocols(cluster.value("tls"), problems)


def _modes(listener: Part, problems: Problems) -> None:
    """How TLS is told from plaintext."""
    permissive = listener.value("tls_mode") == "permissive"
    timed = "first_bytes_timeout" in listener.written
    if "tls_mode" in listener.fields and "tls" not in listener.written:
        problems.error(*listener.place("tls_mode"), "tls_mode needs tls; add tls with its certificates, or remove it")
    elif permissive and listener.value("protocol") == "tcp" and not timed:
        problems.error(
            *listener.place("tls_mode"),
            "a client of tcp may wait for the server to speak first, so silence must have an end; add "
            "first_bytes_timeout: 1s, after which a silent client is served in plaintext",
        )
    if timed and not permissive and not _by_name(listener):
        remedy = "write tls_mode: permissive, or routes with match: {sni: HOST}"
        problems.warn(*listener.place("first_bytes_timeout"), f"the first bytes decide nothing here; {remedy}")


def _by_name(listener: Part) -> bool:
    """Whether its routes go by the host of a handshake."""
    matches = (route.value("match") for route in listener.parts("routes"))
    return any(match is not None and "sni" in match.fields for match in matches)


def _passed_through(listener: Part, problems: Problems) -> None:
    """Routes by the host of a handshake need one that is passed on."""
    if listener.value("protocol") == "tcp" and "routes" in listener.fields and "tls" in listener.written:
        problems.error(
            *listener.place("routes"),
            "tcp routes go by the host of a handshake that is passed on, but tls ends it here; write cluster: NAME, or "
            "remove tls",
        )


def _ciphers(tls: Part, problems: Problems) -> None:
    named: tuple[str, ...] = tls.value("ciphers") or ()
    place = tls.place("ciphers")
    if named and tls.value("min_version") == "1.3" and not any(map(is_13, named)):
        problems.error(*place, "none of these is one of TLS 1.3; add TLS_AES_128_GCM_SHA256, or lower min_version")
    for name in named:
        if not is_forward_secret(name):
            lost = f"{name} has no forward secrecy, whoever gets the key later reads what was recorded"
            problems.warn(*place, f"{lost}; write those that begin with ECDHE")
        if has_short_tag(name):
            problems.warn(*place, f"{name} lets OpenSSL take weak keys, too (level 0); write the one without the 8")


def _plaintext_clients(listener: Part, tls: Part, problems: Problems) -> None:
    """Who need not speak TLS need not show a certificate."""
    clients: Part | None = tls.value("client_certificates")
    if listener.value("tls_mode") == "permissive" and clients is not None and clients.value("mode") != "optional":
        problems.warn(
            *clients.place("mode"), "clients of plaintext are served without a certificate; write tls_mode: required"
        )


def _protocols(tls: Part | None, problems: Problems, *, http2: bool | None = None) -> None:
    """What http1 agrees on must be what it speaks. `http2`: a listener speaks that as well, or could."""
    protocols = () if tls is None else tls.value("alpn") or ()
    other = next((name for name in protocols if name not in _OF_HTTP1 and not (http2 and name == "h2")), None)
    if tls is not None and other == "h2" and http2 is not None:
        problems.error(*tls.place("alpn"), "h2 could be agreed on and is not spoken here; write http2: true")
    elif tls is not None and other is not None:
        problems.error(*tls.place("alpn"), f"{other} could be agreed on and is not spoken here; write alpn: [http/1.1]")


def _only_http2(tls: Part | None, problems: Problems) -> None:
    """Endpoints that speak HTTP/2 speak nothing else to us."""
    other = next((name for name in (tls.value("alpn") or () if tls is not None else ()) if name != "h2"), None)
    if tls is not None and other is not None:
        problems.error(*tls.place("alpn"), f"{other} could be agreed on and is not spoken here; remove alpn, or http2")


def _trust(cluster: Part, tls: Part, problems: Problems) -> None:
    if tls.value("verify") is False:
        problems.warn(
            *tls.place("verify"), "whoever answers is trusted; write verify: true, with ca: FILE for roots of your own"
        )
        for key in ("ca", "sans"):
            if key in tls.fields:
                problems.warn(*tls.place(key), f"{key} is not used; write verify: true")
        return
    if {"sni", "sans"} & tls.written:
        return
    for endpoint in cluster.parts("endpoints"):
        address = endpoint.value("address")
        if address is not None and str(address).startswith("unix:"):
            problems.error(
                *endpoint.place("address"),
                "a unix socket has no host that could stand in a certificate; add sni: HOST to tls, or sans: [NAME]",
            )


def _wanted(cluster: Part, problems: Problems) -> None:
    """Encryption that is wanted must be possible, and what is followed be told by somebody."""
    encryption: Part | None = cluster.value("encryption")
    own = [endpoint for endpoint in cluster.parts("endpoints") if "encryption" in endpoint.fields]
    asking = [(one, "encryption", one.value("encryption")) for one in own]
    if encryption is not None and ("wanted" not in encryption.written or "wanted" in encryption.fields):
        asking.append((encryption, "wanted", encryption.value("wanted") or "on"))
    for part, key, wanted in asking:
        if wanted != "off" and "tls" not in cluster.written:
            problems.error(
                *part.place(key), f"{key} is {wanted} and needs tls; add tls: {{ca: FILE}} to the cluster, or write off"
            )
    if cluster.value("endpoints") == () and any(wanted == "follow" for _, _, wanted in asking):
        part, key, _ = next(one for one in asking if one[2] == "follow")
        problems.error(*part.place(key), "with endpoints: original_dst nobody announces anything; write on or off")
    follows = any(wanted == "follow" for _, _, wanted in asking)
    told = encryption is not None and "announcements" in encryption.written
    announcing = [one for one in cluster.parts("endpoints") if "announces" in one.fields]
    if not follows and announcing:
        problems.warn(*announcing[0].place("announces"), "nobody follows this; write encryption: follow")
    if not follows and told and encryption is not None:
        problems.warn(*encryption.place("announcements"), "nobody follows these; write wanted: follow")
    if encryption is None:
        return
    shortest, longest = encryption.value("retry"), encryption.value("max_retry")
    if longest is not None and longest < (shortest if shortest is not None else EncryptionConfig().retry):
        problems.warn(*encryption.place("max_retry"), "every pause is as short as this; write one above retry")
    if encryption.value("percent") == 0 and encryption.value("wanted") != "off":
        problems.warn(*encryption.place("percent"), "no connection is encrypted; write wanted: off, or a share")
