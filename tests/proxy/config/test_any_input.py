"""Any text is a configuration or an `InvalidConfig`; nothing else ever comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from hotswap.settings.problems import InvalidConfig
from proxy.config.elsewhere import ELSEWHERE
from proxy.config.keys import SECTIONS
from proxy.config.loader import Loaded, loads
from proxy.config.schema import json_schema

SECURE = """\
name: edge
listeners:
  - name: web
    address: 127.0.0.1:8443
    protocol: http1
    cluster: app
    tls_mode: permissive
    tls:
      certificates: [{cert: edge.pem, key: edge.key}]
      client_certificates: {mode: optional, ca: ca.pem, sans: ["*.a", 10.0.0.1]}
  - {name: raw, address: "[::1]:443", protocol: tcp, routes: [{match: {sni: "*.a.test"}, cluster: db}, {cluster: app}]}
clusters:
  - {name: app, endpoints: [app.test:9443], tls: {min_version: "1.3", ciphers: [TLS_AES_128_GCM_SHA256]}}
  - {name: db, endpoints: [unix:/x], tls: {sni: a, certificate: {cert: a.pem, key: a.key}, alpn: [b]}}
"""
EXAMPLE = (Path(__file__).parents[3] / "examples" / "edge.yaml").read_text()
# The pure parser refuses some tabs that libyaml takes.
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
VALIDATOR = Draft202012Validator(json_schema())

WORDS = sorted({key.name for section in SECTIONS for key in section.keys} | set(ELSEWHERE))
SYNTAX = [
    "{",
    "}",
    "[",
    "]",
    ", ",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "'",
    '"',
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "? ",
    "| ",
    "---\n",
]
ADDRESSES = ["127.0.0.1:80", "[::1]:80", "unix:/x", "unix:/\0", "/v1", "/?", "*.x"]
SCALARS = [
    "app",
    "db",
    "http1",
    "tcp",
    "1",
    "5s",
    "1e9s",
    "9" * 20,
    "0x10",
    "010",
    "1_000",
    "yes",
    "~",
    ".inf",
    "12:30",
]
TLS = ["edge.pem", "'1.3'", "TLS_AES_128_GCM_SHA256", "spiffe://a/b", "{cert: a, key: b}", "h2", "*.a"]
STRANGE = ["2024-01-01", "8KB", "\N{SNOWMAN}", "\x85", "\u2028", "\ufeff", "\0", "=", "%YAML 1.1\n"]
PIECES = [*(f"{word}: " for word in WORDS), *SYNTAX, *ADDRESSES, *SCALARS, *TLS, *STRANGE]

VALUES = st.recursive(
    st.one_of(
        st.sampled_from(
            ["app", "db", "127.0.0.1:80", "[::1]:80", "unix:/x", "tcp", "http1", "weighted", "5s", "/v1", "a.b"]
        ),
        st.integers(-1, 10**20),
        st.booleans(),
        st.none(),
        st.floats(),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), inner, max_size=5),
    ),
    max_leaves=20,
)


def read(text: str) -> Loaded | None:
    """Load, and hold what comes out against the promises of the loader."""
    try:
        loaded = loads(text, "x.yaml")
    except InvalidConfig as invalid:
        check_report(invalid)
        return None
    document = yaml.load(text, Loader=SAFE)
    assert list(VALIDATOR.iter_errors(document)) == [], "the schema takes what the loader takes"
    return loaded


def check_report(invalid: InvalidConfig) -> None:
    lines = str(invalid).split("\n")
    assert len(lines) == len(invalid.problems) > 0, "a problem has one line"
    assert all(line.startswith("x.yaml:") for line in lines)
    assert all("; " in line or "write" in line for line in lines), "a problem has a remedy"


@given(st.text())
@example("\ufeffname: x")
@example("? a")
@example("!<tag:yaml.org,2002:python/object/apply:os.system> [ls]")
@example("a: " + "[" * 100_000)
@example("- " * 10_000)
@example("a: &a [*a]")
@example("%YAML 9.9\n---\na: 1\n")
def test_any_text(text: str) -> None:
    read(text)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_order_of_known_words(text: str) -> None:
    read(text)


@given(VALUES)
def test_any_document(value: Any) -> None:
    read(yaml.safe_dump(value))


@settings(suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("example", [EXAMPLE, SECURE], ids=["example", "secure"])
@given(st.data(), st.integers(0, 40), st.sampled_from(["", *PIECES]))
def test_a_piece_of_an_example_replaced(example: str, data: st.DataObject, length: int, piece: str) -> None:
    start = data.draw(st.integers(0, len(example)))
    read(example[:start] + piece + example[start + length :])


@pytest.mark.parametrize("example", [EXAMPLE, SECURE], ids=["example", "secure"])
@given(st.data())
def test_one_value_of_an_example_replaced(example: str, data: st.DataObject) -> None:
    assert read(example) is not None
    document = yaml.safe_load(example)
    inside = document
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inside[key], dict | list) or not inside[key] or data.draw(st.booleans()):
            break
        inside = inside[key]
    inside[key] = data.draw(VALUES)
    read(yaml.safe_dump(document))
