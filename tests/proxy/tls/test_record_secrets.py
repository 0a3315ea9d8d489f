"""The secrets of a handshake, from lines of a key log."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tls.suites import BY_ID, TLS12
from tests.proxy.tls.records import BOTH, DATA, C, begin, granted, implementation, key_log_line, noise, shaken

RANDOM = noise(32)
LABELS = {"CLIENT_TRAFFIC_SECRET_0": (32, 48), "SERVER_TRAFFIC_SECRET_0": (32, 48), "CLIENT_RANDOM": (48,)}
SIZES = [(label, size) for label, sizes in LABELS.items() for size in sizes]


def fresh(line: bytes) -> bytes:
    """A bytes object that nobody else has: what is given to `Secrets.line` is overwritten."""
    return bytes(bytearray(line))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("label", "size"), SIZES)
def test_lines_that_matter_are_kept(name: str, label: str, size: int) -> None:
    secrets = implementation(name).Secrets()
    secrets.line(key_log_line(label, RANDOM, noise(size, 2)))
    assert secrets.take(label) == noise(size, 2)
    assert secrets.client_random == RANDOM


@pytest.mark.parametrize("name", BOTH)
def test_the_case_of_hex_does_not_matter(name: str) -> None:
    secrets = implementation(name).Secrets()
    secrets.line(fresh(b"CLIENT_RANDOM " + b"aB" * 32 + b" " + b"Fe" * 48))
    assert secrets.take("CLIENT_RANDOM") == b"\xfe" * 48
    assert secrets.client_random == b"\xab" * 32


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("line", [b"", b" ", b"x", b"# comment", b"CLIENT_TRAFFIC_SECRET_1 00 00", b"CLIENT_RANDO x y"])
def test_other_lines_are_passed_over(name: str, line: bytes) -> None:
    secrets = implementation(name).Secrets()
    secrets.line(fresh(line))
    for label in ("EXPORTER_SECRET", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"):
        secrets.line(key_log_line(label, RANDOM, noise(32)))
    assert secrets.client_random == b""
    for label in (*LABELS, "EXPORTER_SECRET", "", "\u2603"):
        with pytest.raises(ValueError, match="lack"):
            secrets.take(label)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("label", "size"), SIZES)
def test_a_line_that_is_cut_off_is_refused_without_a_word_of_it(name: str, label: str, size: int) -> None:
    whole = key_log_line(label, RANDOM, noise(size, 2))
    lengths = {len(key_log_line(label, RANDOM, noise(other))) for other in LABELS[label]}
    for end in range(len(label) + 1, len(whole) + 3):
        if end in lengths:
            continue
        secrets = implementation(name).Secrets()
        with pytest.raises(ValueError, match="cannot be read") as caught:
            secrets.line(fresh((whole + b"00")[:end]))
        assert noise(size, 2).hex()[:8] not in str(caught.value)
        with pytest.raises(ValueError, match="lack"):
            secrets.take(label)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("place", [14, 77, 78, 79, 100, -1])
@pytest.mark.parametrize("byte", b"g\x00\xff\n\r-")
def test_a_line_with_something_else_in_it_is_refused(name: str, place: int, byte: int) -> None:
    line = bytearray(key_log_line("CLIENT_RANDOM", RANDOM, noise(48)))
    line[place] = byte
    with pytest.raises(ValueError, match="cannot be read"):
        implementation(name).Secrets().line(bytes(line))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("place", [14, 16, 78, 79, 81, 175])
@pytest.mark.parametrize("space", b"\t\n\r\x0b\x0c ")
def test_a_line_with_more_space_in_it_is_refused(name: str, place: int, space: int) -> None:
    line = bytearray(key_log_line("CLIENT_RANDOM", RANDOM, noise(48)))
    line.insert(place, space)
    with pytest.raises(ValueError, match="cannot be read"):
        implementation(name).Secrets().line(bytes(line))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("place", [14, 77, 79, -1])
def test_a_line_that_is_refused_changes_nothing(name: str, place: int) -> None:
    secrets = implementation(name).Secrets()
    secrets.line(key_log_line("CLIENT_RANDOM", RANDOM, noise(48, 2)))
    line = bytearray(key_log_line("CLIENT_RANDOM", noise(32, 3), noise(48, 4)))
    line[place] = ord("?")
    with pytest.raises(ValueError, match="cannot be read"):
        secrets.line(bytes(line))
    assert secrets.client_random == RANDOM
    assert secrets.take("CLIENT_RANDOM") == noise(48, 2)


@pytest.mark.parametrize("name", BOTH)
@settings(max_examples=500, deadline=None)
@given(
    label=st.sampled_from([b"CLIENT_RANDOM", b"CLIENT_TRAFFIC_SECRET_0", b"X"]),
    words=st.lists(st.binary(max_size=70), max_size=4),
    whole=st.booleans(),
)
def test_noise_in_a_key_log_does_no_harm(name: str, label: bytes, words: list[bytes], whole: bool) -> None:
    secrets = implementation(name).Secrets()
    told = ""
    try:
        secrets.line(fresh(b" ".join([label, *(word.hex().encode() if whole else word for word in words)])))
    except ValueError as error:
        told = str(error)
    assert told in ("", "a line of the key log cannot be read")


@pytest.mark.parametrize("name", BOTH)
def test_only_bytes_are_a_line(name: str) -> None:
    secrets: Any = implementation(name).Secrets()
    for wrong in ("CLIENT_RANDOM", bytearray(b"CLIENT_RANDOM"), None):
        with pytest.raises(TypeError):
            secrets.line(wrong)


@pytest.mark.parametrize("name", BOTH)
def test_secrets_that_have_ended_are_of_no_use(name: str) -> None:
    module = implementation(name)
    hello = shaken(BY_ID[0x1301])
    secrets = hello.secrets(module)
    secrets.end()
    secrets.end()
    for use in (lambda: secrets.take("CLIENT_TRAFFIC_SECRET_0"), lambda: secrets.line(fresh(b"CLIENT_RANDOM a b"))):
        with pytest.raises(ValueError, match="ended"):
            use()
    with pytest.raises(ValueError, match=r"secrets|ended"):
        module.RecordLayer.begin(
            secrets, granted(module), server=True, version=0x0304, suite=0x1301, client_random=hello.client_random,
            server_random=hello.server_random, tx_seq=0, rx_seq=0,
        )  # fmt: skip


@pytest.mark.parametrize("line", ["CLIENT_RANDOM", "EXPORTER_SECRET", "CLIENT_TRAFFIC_SECRET_0"])
@pytest.mark.parametrize("damage", [b"", b"?"])
def test_in_c_a_line_is_overwritten_whatever_it_is(line: str, damage: bytes) -> None:
    text = key_log_line(line, RANDOM, noise(48)) + damage
    secrets = implementation(C).Secrets()
    told = ""
    try:
        secrets.line(text)
    except ValueError as error:
        told = str(error)
    assert bool(told) == bool(damage and line != "EXPORTER_SECRET")
    assert text == bytes(len(text))


def test_in_c_a_byte_that_everybody_shares_is_not_overwritten() -> None:
    shared = b"x"
    implementation(C).Secrets().line(shared)
    assert shared == bytes((120,))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("missing", ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0", "CLIENT_RANDOM"])
def test_a_layer_needs_all_secrets_of_its_handshake(name: str, missing: str) -> None:
    suite = BY_ID[0x1301 if missing != "CLIENT_RANDOM" else 0xC02B]
    module = implementation(name)
    hello = shaken(suite)
    lines = [*hello.lines, *shaken(BY_ID[0xC02B if suite.version != TLS12 else 0x1301]).lines]
    secrets = hello._replace(lines=tuple(line for line in lines if line[0] != missing)).secrets(module)
    with pytest.raises(ValueError, match=r"missing|lack"):
        module.RecordLayer.begin(
            secrets, granted(module), server=True, version=suite.version, suite=suite.number,
            client_random=hello.client_random, server_random=hello.server_random, tx_seq=0, rx_seq=0,
        )  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    "change",
    [
        {"suite": 0x1302},  # its hash is another
        {"suite": 0xC02B},
        {"version": 0x0303},
        {"version": 0x0305},
        {"suite": 0xFFFF},
        {"suite": 0x002F},
        {"client_random": bytes(32)},
        {"client_random": b""},
        {"server_random": bytes(31)},
    ],
    ids=str,
)
def test_what_does_not_belong_together_is_refused(name: str, change: dict[str, Any]) -> None:
    module = implementation(name)
    hello = shaken(BY_ID[0x1301])
    settings: dict[str, Any] = {
        "server": True,
        "version": 0x0304,
        "suite": 0x1301,
        "client_random": hello.client_random,
        "server_random": hello.server_random,
        "tx_seq": 0,
        "rx_seq": 0,
    }
    begun = module.RecordLayer.begin(hello.secrets(module), granted(module), **settings)
    assert begun.suite == 0x1301
    with pytest.raises(ValueError, match=r"unknown here|suite|secrets"):
        module.RecordLayer.begin(hello.secrets(module), granted(module), **{**settings, **change})


@pytest.mark.parametrize("name", BOTH)
def test_secrets_may_end_once_a_layer_has_begun(name: str) -> None:
    module = implementation(name)
    hello = shaken(BY_ID[0x1301])
    secrets = hello.secrets(module)
    layer = module.RecordLayer.begin(
        secrets, granted(module), server=True, version=0x0304, suite=0x1301, client_random=hello.client_random,
        server_random=hello.server_random, tx_seq=0, rx_seq=0,
    )  # fmt: skip
    secrets.end()
    assert layer.seal(DATA, b"x") == begin(name, BY_ID[0x1301], server=True).seal(DATA, b"x")
