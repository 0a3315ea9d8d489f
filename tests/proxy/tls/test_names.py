"""Names in certificates: how they are written, and whom they admit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls.names import admitted, expected, is_name, names_host, pattern


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("App.Example.com", "DNS:app.example.com"),
        ("*.Example.com", "DNS:*.example.com"),
        ("dns:app", "DNS:app"),
        ("spiffe://prod/Web", "URI:spiffe://prod/Web"),
        ("URI:urn:x", "URI:urn:x"),
        ("urn:x", "URI:urn:x"),
        ("dns://x", "URI:dns://x"),
        ("ops@example.com", "email:ops@example.com"),
        ("email:ops@example.com", "email:ops@example.com"),
        ("10.0.0.1", "IP:10.0.0.1"),
        ("IP:10.0.0.1", "IP:10.0.0.1"),
        ("2001:DB8::0001", "IP:2001:db8::1"),
    ],
)
def test_kind_of_a_name_is_seen_from_its_form_or_written_in_front(written: str, canonical: str) -> None:
    assert pattern(written) == canonical
    assert pattern(canonical) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "a b", "*", "*.", "a.*.b", "-a", "DNS:", "DNS:10.0.0.1/8", "IP:app", "IP:10.0.0.256", "a\n", "x" * 2000],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        pattern(text)


@pytest.mark.parametrize(
    ("names", "host", "good"),
    [
        (("DNS:app.example.com",), "app.example.com", True),
        (("DNS:app.example.com",), "APP.example.com.", True),
        (("DNS:app.example.com",), "example.com", False),
        (("DNS:*.example.com",), "app.example.com", True),
        (("DNS:*.example.com",), "a.b.example.com", False),
        (("DNS:*.example.com",), "example.com", False),
        (("DNS:*.com",), "example.com", False),
        (("DNS:*",), "example", False),
        (("DNS:a*.example.com",), "app.example.com", False),
        (("IP:127.0.0.1",), "127.0.0.1", True),
        (("IP:::1",), "0:0::1", True),
        (("DNS:127.0.0.1",), "127.0.0.1", False),
        (("URI:app.example.com", "email:app.example.com"), "app.example.com", False),
        ((), "app.example.com", False),
        (("DNS:localhost", "DNS:app"), "app", True),
    ],
)
def test_certificate_is_for_a_host_if_one_of_its_names_is_or_a_wildcard_for_one_label(
    names: tuple[str, ...], host: str, good: bool
) -> None:
    assert names_host(names, expected(host)) is good


@pytest.mark.parametrize(
    ("names", "allowed", "good"),
    [
        (("DNS:web", "URI:spiffe://prod/web"), ("URI:spiffe://prod/web",), True),
        (("URI:spiffe://prod/web2",), ("URI:spiffe://prod/web",), False),
        (("DNS:a.example.com",), ("DNS:*.example.com",), True),
        (("DNS:a.b.example.com",), ("DNS:*.example.com",), True),
        (("DNS:example.com",), ("DNS:*.example.com",), False),
        (("DNS:badexample.com",), ("DNS:*.example.com",), False),
        (("URI:x.example.com",), ("DNS:*.example.com",), False),
        (("DNS:*.example.com",), ("DNS:*.example.com",), True),
        ((), ("DNS:a",), False),
        (("DNS:a",), (), False),
    ],
)
def test_allow_list_admits_exact_names_and_everything_below_a_wildcard(
    names: tuple[str, ...], allowed: tuple[str, ...], good: bool
) -> None:
    assert admitted(names, allowed) is good


@pytest.mark.parametrize(
    ("host", "good"),
    [("app", True), ("app.example.com", True), ("127.0.0.1", False), ("::1", False), ("/run/app.sock", False)],
)
def test_only_host_names_are_sent_as_server_names(host: str, good: bool) -> None:
    assert is_name(host) is good


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused_and_a_name_stays_itself(text: str) -> None:
    try:
        canonical = pattern(text)
    except ValueError:
        return
    assert pattern(canonical) == canonical
    assert admitted((canonical,), (canonical,))
