from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.address import MAX_UNIX_PATH, Address
from hotswap.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "family", "sockaddr", "canonical"),
    [
        ("127.0.0.1:80", socket.AF_INET, ("127.0.0.1", 80), "127.0.0.1:80"),
        ("localhost:80", socket.AF_INET, ("127.0.0.1", 80), "127.0.0.1:80"),
        ("0.0.0.0:0", socket.AF_INET, ("0.0.0.0", 0), "0.0.0.0:0"),
        ("127.0.0.1:00080", socket.AF_INET, ("127.0.0.1", 80), "127.0.0.1:80"),
        ("[::1]:65535", socket.AF_INET6, ("::1", 65535, 0, 0), "[::1]:65535"),
        ("[0:0::0:1]:80", socket.AF_INET6, ("::1", 80, 0, 0), "[::1]:80"),
        ("[FE80::A]:80", socket.AF_INET6, ("fe80::a", 80, 0, 0), "[fe80::a]:80"),
        ("unix:/run/a b.sock", socket.AF_UNIX, "/run/a b.sock", "unix:/run/a b.sock"),
    ],
)
def test_equal_addresses_have_equal_text(text: str, family: int, sockaddr: object, canonical: str) -> None:
    address = Address.parse(text)
    assert (address.family, address.sockaddr, str(address)) == (family, sockaddr, canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1:1e3",
        "127.0.0.1:٣",
        "127.0.0.1:" + "1" * 5000,
        "127.1:80",
        "example.com:80",
        "::1:80",
        "[::1:80",
        "::1]:80",
        "[127.0.0.1]:80",
        "[localhost]:80",
        "unix:relative.sock",
        "unix:",
        "unix:/nul\0byte",
        "unix:/" + "x" * MAX_UNIX_PATH,
        "unix:/" + "ü" * (MAX_UNIX_PATH // 2 + 1),
    ],
)
def test_what_is_no_address_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write |stands in brackets"):
        Address.parse(text)


def test_the_longest_unix_path_is_one_the_kernel_takes(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("u")
    path = f"{directory}/" + "x" * (MAX_UNIX_PATH - len(str(directory)) - 1)
    address = Address.parse(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.sockaddr)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_the_canonical_text_reads_back_as_the_same_address(ip: object, port: int) -> None:
    host = f"[{ip}]" if ":" in str(ip) else str(ip)
    address = Address.parse(f"{host}:{port}")
    assert Address.parse(str(address)) == address
