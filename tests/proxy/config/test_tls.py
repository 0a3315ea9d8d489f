"""The keys of TLS: what they mean, alone and together. What is in the files: test_tls_files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import load, loads
from proxy.config.model import Config, MatchConfig
from proxy.config.tls_model import CertificateConfig, ClientCertificatesConfig, ClusterTlsConfig, ListenerTlsConfig

TEXT = """\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:8443
    protocol: http1
    cluster: app
    tls: {certificates: [{cert: edge.pem, key: /keys/edge.key}]}
clusters:
  - name: app
    endpoints: [app.test:9443]
    tls: {}
"""
PASSING = """\
name: edge
listeners:
  - name: raw
    address: 127.0.0.1:8443
    protocol: tcp
    routes:
      - {match: {sni: Db.Example.com}, cluster: one}
      - {match: {sni: "*.example.com"}, cluster: two}
      - {cluster: one}
clusters:
  - {name: one, endpoints: [127.0.0.1:1]}
  - {name: two, endpoints: [127.0.0.1:2]}
"""


def read(old: str = "", new: str = "", text: str = TEXT) -> Config:
    assert old in text
    return loads(text.replace(old, new, 1), base=Path("/etc/edge")).config


def of_listener(keys: str) -> ListenerTlsConfig:
    tls = read("edge.key}]", f"edge.key}}], {keys}").listeners[0].tls
    assert tls is not None
    return tls


def of_cluster(keys: str) -> ClusterTlsConfig:
    tls = read("tls: {}", f"tls: {{{keys}}}").clusters[0].tls
    assert tls is not None
    return tls


def problems(old: str, new: str, text: str = TEXT) -> list[str]:
    with pytest.raises(InvalidConfig) as raised:
        read(old, new, text)
    return [problem.at("edge.yaml") for problem in raised.value.problems]


def warnings(old: str, new: str, text: str = TEXT) -> list[str]:
    assert old in text
    return [one.at("edge.yaml") for one in loads(text.replace(old, new, 1)).warnings]


def test_defaults() -> None:
    config = read()
    assert config.listeners[0].tls == ListenerTlsConfig(
        certificates=(CertificateConfig(cert="/etc/edge/edge.pem", key="/keys/edge.key"),), alpn=("http/1.1",)
    )
    assert (config.listeners[0].tls_mode, config.listeners[0].first_bytes_timeout) == ("required", None)
    assert config.clusters[0].tls == ClusterTlsConfig()


def test_every_key_of_a_listener() -> None:
    assert of_listener(
        "min_version: '1.3', ciphers: [TLS_AES_256_GCM_SHA384], alpn: [http/1.0], tickets: false, "
        "handshake_timeout: 3s, client_certificates: {mode: optional, ca: ca.pem, sans: [web, 'spiffe://t/Web']}"
    ) == ListenerTlsConfig(
        certificates=(CertificateConfig(cert="/etc/edge/edge.pem", key="/keys/edge.key"),),
        min_version="1.3",
        ciphers=("TLS_AES_256_GCM_SHA384",),
        alpn=("http/1.0",),
        client_certificates=ClientCertificatesConfig(
            mode="optional", ca="/etc/edge/ca.pem", sans=("DNS:web", "URI:spiffe://t/Web")
        ),
        tickets=False,
        handshake_timeout=3.0,
    )


def test_every_key_of_a_cluster() -> None:
    assert of_cluster(
        "ca: ../ca.pem, verify: true, sans: [10.0.0.1], sni: Db.test, certificate: {cert: a.pem, key: a.key}, "
        "alpn: [http/1.0], min_version: '1.3', ciphers: [TLS_AES_128_GCM_SHA256, DHE-RSA-AES128-GCM-SHA256]"
    ) == ClusterTlsConfig(
        ca="/etc/edge/../ca.pem",
        sans=("IP:10.0.0.1",),
        sni="db.test",
        certificate=CertificateConfig(cert="/etc/edge/a.pem", key="/etc/edge/a.key"),
        alpn=("http/1.0",),
        min_version="1.3",
        ciphers=("TLS_AES_128_GCM_SHA256", "DHE-RSA-AES128-GCM-SHA256"),
    )


def test_files_are_beside_the_configuration_file_not_where_somebody_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "edge.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    tls = load(Path("conf/edge.yaml")).listeners[0].tls
    assert tls is not None
    assert tls.certificates[0].cert == str(tmp_path / "conf" / "edge.pem")


@pytest.mark.parametrize("protocol", ["tcp", "bolt"])
def test_only_http1_has_a_protocol_to_agree_on_by_itself(protocol: str) -> None:
    tls = read("http1", protocol).listeners[0].tls
    assert tls is not None
    assert tls.alpn == ()


def test_default_protocol_does_not_change_the_identity_of_a_configuration() -> None:
    assert read().id == read("edge.key}]", "edge.key}], alpn: [http/1.1]").id
    assert read().id != read("edge.key}]", "edge.key}], alpn: [http/1.0]").id


def test_directory_does_not_change_the_identity_of_a_configuration_without_files() -> None:
    assert loads(PASSING, base=Path("/a")).config.id == loads(PASSING, base=Path("/b")).config.id
    assert loads(TEXT, base=Path("/a")).config.id != loads(TEXT, base=Path("/b")).config.id


def test_routes_of_tcp_go_by_the_host_of_a_handshake() -> None:
    (listener,) = read(text=PASSING).listeners
    assert [(route.match, route.cluster) for route in listener.routes] == [
        (MatchConfig(sni="db.example.com"), "one"),
        (MatchConfig(sni="*.example.com"), "two"),
        (MatchConfig(), "one"),
    ]
    assert listener.first_bytes_timeout == 5.0
    assert listener.cluster == "one"
    assert read("protocol: tcp", "protocol: tcp\n    first_bytes_timeout: 1s", PASSING).listeners[
        0
    ].first_bytes_timeout == pytest.approx(1.0)


def test_permissive_says_how_long_silence_may_last() -> None:
    text = TEXT.replace("http1", "tcp").replace("    cluster", "    tls_mode: permissive\n    cluster")
    (line,) = problems("tcp", "tcp", text)
    assert line.startswith("edge.yaml:6: listeners[0].tls_mode: a client of tcp may wait for the server to speak first")
    assert "add first_bytes_timeout: 1s, after which a silent client is served in plaintext" in line
    (listener,) = read("tcp", "tcp\n    first_bytes_timeout: 1s", text).listeners
    assert (listener.tls_mode, listener.first_bytes_timeout) == ("permissive", 1.0)


@pytest.mark.parametrize("protocol", ["http1", "bolt"])
def test_where_clients_speak_first_permissive_needs_nothing_more(protocol: str) -> None:
    (listener,) = read("http1", f"{protocol}\n    tls_mode: permissive").listeners
    assert (listener.tls_mode, listener.first_bytes_timeout) == ("permissive", None)


MISTAKES: list[Any] = [
    ("edge.pem,", "'',", "listeners[0].tls.certificates[0].cert: '' does not fit; write the path of a file such as"),
    ("cert: edge.pem, ", "", "listeners[0].tls.certificates[0]: cert is missing; add it, for example cert: edge.pem"),
    ("[{cert: edge.pem, key: /keys/edge.key}]", "[]", "listeners[0].tls.certificates: the list is empty; add at least"),
    (
        "tls: {cert",
        "tls: {min_version: 1.2, cert",
        '.min_version: YAML reads 1.2 as a number; write it in quotes, "1.2"',
    ),
    ("tls: {cert", "tls: {min_version: '1.1', cert", ".min_version: '1.1' is not known; did you mean 1.3?"),
    (
        "tls: {cert",
        "tls: {ciphers: [RC4], cert",
        ".ciphers: 'RC4' is no cipher suite that can be used here; write names",
    ),
    (
        "tls: {cert",
        "tls: {ciphers: [ECDHE-RSA-AES128-SHA256], cert",
        ".ciphers: 'ECDHE-RSA-AES128-SHA256' is no cipher suite that can be used here; did you mean ECDHE-RSA-",
    ),
    (
        "tls: {cert",
        "tls: {alpn: [], cert",
        ".alpn: a list stands here; write a list of names of protocols such as http/1.1",
    ),
    ("tls: {cert", "tls: {alpn: [a, a], cert", ".alpn: 'a' stands here twice; write each once"),
    (
        "tls: {cert",
        "tls: {alpn: [h2], cert",
        ".alpn: h2 could be agreed on and is not spoken here; write http2: true",
    ),
    ("tls: {cert", "tls: {handshake_timeout: 5, cert", ".handshake_timeout: 5 has no unit; write 5s"),
    ("tls: {cert", "tls: {client_certificates: {}, cert", ".client_certificates: ca is missing; add it"),
    (
        "tls: {cert",
        "tls: {client_certificates: {ca: x, sans: ['a b']}, cert",
        ".client_certificates.sans: 'a b' does not fit; write names such as app.example.com",
    ),
    (
        "tls: {cert",
        "tls: {client_certificates: {ca: x, sans: [A, a]}, cert",
        ".client_certificates.sans: 'DNS:a' stands here twice; write each once",
    ),
    (
        "tls: {cert",
        "tls: {min_version: '1.3', ciphers: [ECDHE-RSA-AES128-GCM-SHA256], cert",
        ".ciphers: none of these is one of TLS 1.3; add TLS_AES_128_GCM_SHA256, or lower min_version",
    ),
    (
        "tls: {cert",
        "tls_mode: permissive\n    ssl: {cert",
        "listeners[0].ssl: 'ssl' is not a key of a listener; did you mean tls?",
    ),
    ("tls: {}", "tls: {alpn: [http/1.1, h2]}", "clusters[0].tls.alpn: h2 could be agreed on and is not spoken here"),
    ("tls: {}", "tls: {sni: '*.test'}", "clusters[0].tls.sni: '*.test' does not fit; write a host name such as"),
    ("tls: {}", "tls: {verify: maybe}", "clusters[0].tls.verify: 'maybe' stands here; write true or false"),
    (
        "tls: {}",
        "tls: {ca_file: x}",
        "clusters[0].tls.ca_file: 'ca_file' is not a key of a cluster tls; did you mean ca?",
    ),
    (
        "app.test:9443",
        "unix:/run/app.sock",
        "clusters[0].endpoints[0]: a unix socket has no host that could stand in a certificate; add sni: HOST",
    ),
]


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES)
def test_mistake_names_key_and_remedy(old: str, new: str, words: str) -> None:
    assert any(words in line for line in problems(old, new)), problems(old, new)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "sni: Db.Example.com",
            "sni: 'a b'",
            "listeners[0].routes[0].match.sni: 'a b' does not fit; write a host name",
        ),
        (
            "sni: Db.Example.com",
            "host: a",
            "listeners[0].routes[0].match.host: host has no meaning for protocol tcp; remove",
        ),
        (
            "sni: Db.Example.com",
            "headers: {a: b}",
            ".match.headers: headers has no meaning for protocol tcp; remove it",
        ),
        (
            "protocol: tcp",
            "protocol: bolt",
            ".match.sni: sni has no meaning for protocol bolt; remove it, or write protocol",
        ),
        ("cluster: two}", "cluster: two, retries: 1}", ".retries: retries has no meaning for protocol tcp; remove it"),
        ("protocol: tcp", "protocol: tcp\n    tls_mode: required", ".tls_mode: tls_mode needs tls; add tls"),
        (
            "protocol: tcp",
            "protocol: tcp\n    tls: {certificates: [{cert: a, key: b}]}",
            "listeners[0].routes: tcp routes go by the host of a handshake that is passed on, but tls ends it here",
        ),
    ],
)
def test_mistake_of_a_listener_that_passes_tls_on(old: str, new: str, words: str) -> None:
    assert any(words in line for line in problems(old, new, PASSING)), problems(old, new, PASSING)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "tls: {cert",
            "tls_mode: permissive\n    tls: {client_certificates: {ca: x}, cert",
            ".client_certificates: clients of plaintext are served without a certificate; write tls_mode",
        ),
        ("tls: {}", "tls: {verify: false}", "clusters[0].tls.verify: whoever answers is trusted; write verify: true"),
        ("tls: {}", "tls: {verify: false, ca: x}", "clusters[0].tls.ca: ca is not used; write verify: true"),
        (
            "tls: {cert",
            "tls: {ciphers: [AES128-GCM-SHA256], cert",
            "listeners[0].tls.ciphers: AES128-GCM-SHA256 has no forward secrecy",
        ),
        (
            "tls: {}",
            "tls: {ciphers: [TLS_AES_128_CCM_8_SHA256]}",
            "clusters[0].tls.ciphers: TLS_AES_128_CCM_8_SHA256 lets OpenSSL take weak keys, too",
        ),
        (
            "protocol: http1",
            "protocol: http1\n    first_bytes_timeout: 1s",
            ".first_bytes_timeout: the first bytes decide nothing here; write tls_mode: permissive, or routes",
        ),
    ],
)
def test_what_is_legal_and_probably_not_meant(old: str, new: str, words: str) -> None:
    assert any(words in line for line in warnings(old, new))
    assert not any(words in line for line in warnings("", ""))


def test_other_protocols_may_agree_on_what_they_like() -> None:
    text = (
        TEXT.replace("http1", "tcp")
        .replace("edge.key}]", "edge.key}], alpn: [h2]")
        .replace("tls: {}", "tls: {alpn: [h2]}")
    )
    assert read(text=text).clusters[0].tls == ClusterTlsConfig(alpn=("h2",))


def test_route_behind_one_that_takes_its_names_is_never_reached() -> None:
    swapped = PASSING.replace("Db.Example.com", "'*.x'").replace('"*.example.com"', "db.x").replace("'*.x'", '"*.x"')
    (line,) = warnings("", "", swapped)
    assert "listeners[0].routes[1]: never reached: listeners[0].routes[0] in line 7 takes all of its requests" in line
    assert warnings("", "", PASSING) == []


def test_unix_endpoint_with_a_name_of_its_own_is_fine() -> None:
    for key in ("sni: app.test", "sans: [app.test]", "verify: false"):
        read("app.test:9443", "unix:/run/app.sock", TEXT.replace("tls: {}", f"tls: {{{key}}}"))
