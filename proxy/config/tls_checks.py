"""What keys of TLS mean for each other. What is in the files: `proxy.tls.certificates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.tls.policy import has_short_tag, is_13, is_forward_secret

if TYPE_CHECKING:
    from proxy.config.problems import Problems
    from proxy.config.reader import Part


def check_tls(listeners: list[Part], clusters: list[Part], problems: Problems) -> None:
    """All checks that need no file."""
    for listener in listeners:
        _modes(listener, problems)
        _routes(listener, problems)
        _ciphers(listener.value("tls"), problems)
    for cluster in clusters:
        tls: Part | None = cluster.value("tls")
        _ciphers(tls, problems)
        if tls is not None:
            _trust(tls, problems)


def _modes(listener: Part, problems: Problems) -> None:
    """How TLS is told from plaintext."""
    permissive = listener.value("tls_mode") == "permissive"
    timed = "first_bytes_timeout" in listener.written
    tls = "tls" in listener.written
    if "tls_mode" in listener.fields and not tls:
        problems.error(*listener.place("tls_mode"), "tls_mode needs tls; add tls with its certificates, or remove it")
    if permissive and tls and listener.value("protocol") == "tcp" and not timed:
        problems.error(
            *listener.place("tls_mode"),
            "a client of tcp may wait for the server to speak first, so silence must have an end; add "
            "first_bytes_timeout: 1s, after which a silent client is served in plaintext",
        )
    by_name = any(route.value("match") is not None for route in listener.parts("routes"))
    if timed and not permissive and not (by_name and listener.value("protocol") == "tcp"):
        problems.warn(
            *listener.place("first_bytes_timeout"),
            "not used; write tls_mode: permissive, or routes with match: {sni: HOST}",
        )


def _routes(listener: Part, problems: Problems) -> None:
    """Routes of tcp go by the host that the client names."""
    if listener.value("protocol") != "tcp" or "routes" not in listener.fields:
        return
    if "tls" in listener.written:
        problems.error(
            *listener.place("routes"),
            "tcp routes go by the host of a handshake that is passed on, and tls ends it here; write cluster: NAME, or "
            "remove tls",
        )


def _ciphers(tls: Part | None, problems: Problems) -> None:
    if tls is None:
        return
    named: tuple[str, ...] = tls.value("ciphers") or ()
    if named and tls.value("min_version") == "1.3" and not any(map(is_13, named)):
        problems.error(
            *tls.place("ciphers"), "none of these is one of TLS 1.3; add TLS_AES_128_GCM_SHA256, or lower min_version"
        )
    for name in named:
        if not is_forward_secret(name):
            problems.warn(
                *tls.place("ciphers"),
                f"{name} has no forward secrecy: who gets the key later reads what was recorded; write ECDHE ones",
            )
        if has_short_tag(name):
            problems.warn(
                *tls.place("ciphers"),
                f"{name} takes OpenSSL's security level 0, weak keys included; write the one without the 8",
            )


def _trust(tls: Part, problems: Problems) -> None:
    if tls.value("verify") is False:
        problems.warn(
            *tls.place("verify"), "whoever answers is trusted; write verify: true, with ca: FILE for roots of your own"
        )
        for key in ("ca", "sans"):
            if key in tls.fields:
                problems.warn(*tls.place(key), f"the {key} is not used; write verify: true")
