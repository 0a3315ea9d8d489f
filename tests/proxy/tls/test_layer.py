"""Which record layer serves: C where it can, the twin for AES-CCM and where C cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.tls import layer, twin
from proxy.tls.suites import BY_ID, Suite
from tests.kit.companion import ROOT
from tests.proxy.tls.records import DATA, C, implementation, named, noise, plaintext, shaken, vaults


def begin(suite: Suite, *, server: bool) -> layer.RecordLayer:
    """By the way everybody takes."""
    hello = shaken(suite)
    permit = layer.Permit()
    permit.grant()
    return layer.begin(
        hello.secrets(layer),
        permit,
        server=server,
        version=suite.version,
        suite=suite.number,
        client_random=hello.client_random,
        server_random=hello.server_random,
        tx_seq=0,
        rx_seq=0,
        limit=5000,
    )


@pytest.mark.parametrize("suite", BY_ID.values(), ids=named)
def test_every_suite_is_carried_and_moves(suite: Suite) -> None:
    client, server = begin(suite, server=False), begin(suite, server=True)
    for _ in range(2):
        assert plaintext(server, client.seal(DATA, noise(12_000))) == noise(12_000)
        assert plaintext(client, server.seal(DATA, noise(12_000))) == noise(12_000)
        saving, restoring = vaults(layer, layer)
        permit = layer.Permit()
        permit.grant()
        server = layer.restore(server.save(saving), restoring, permit)


@pytest.fixture
def native() -> Any:
    """The module in C, where it serves."""
    module = implementation(C)
    if layer.IMPLEMENTATION != C:
        pytest.skip(f"{layer.WHY_PYTHON}: this is about C")
    return module


def test_c_serves_all_but_ccm(native: Any) -> None:
    assert sorted(native.SUITES) == sorted(number for number, suite in BY_ID.items() if suite.cipher != "ccm")
    for suite in BY_ID.values():
        home = twin if suite.cipher == "ccm" else native
        assert type(begin(suite, server=True)) is home.RecordLayer


def test_the_names_in_c_are_those_in_python(native: Any) -> None:
    for number in native.SUITES:
        assert f" {BY_ID[number].name} " in repr(begin(BY_ID[number], server=True))


def test_a_state_of_no_known_suite_is_refused() -> None:
    _, vault = vaults(layer, layer)
    for state in (b"", b"\x01\x01\x03\x04\x13\x01", b"\x01\x01\x03\x04\x13\x07" + bytes(100)):
        with pytest.raises(ValueError, match=r"cut off|unknown"):
            layer.restore(state, vault, layer.Permit())


def told(program: str, **environment: str) -> list[str]:
    """What a fresh interpreter prints."""
    argv = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


WHO = "from proxy.tls import layer; print(layer.IMPLEMENTATION, layer.RecordLayer.__module__, bool(layer.WHY_PYTHON))"


def test_c_serves_unless_it_is_turned_off() -> None:
    implementation(C)
    assert told(WHO, HOTSWAP_TLS_RECORD="") == ["c", "proxy.tls._record", "False"]
    assert told(WHO, HOTSWAP_TLS_RECORD="python") == ["python", "proxy.tls.twin", "True"]


def test_the_twin_serves_where_c_cannot_be_loaded() -> None:
    missing = "import sys; sys.modules['proxy.tls._record'] = None; "
    assert told(missing + WHO, HOTSWAP_TLS_RECORD="") == ["python", "proxy.tls.twin", "True"]


NO_CIPHERS = """\
openssl_conf = all
[all]
providers = providers
[providers]
base = base
[base]
activate = 1
"""


def test_the_twin_serves_where_openssl_lacks_a_cipher_and_finds_no_error_of_another(tmp_path: Path) -> None:
    """What OpenSSL says about it waits in a queue of the thread: a handshake would take it for its own."""
    config = tmp_path / "openssl.cnf"
    config.write_text(NO_CIPHERS)
    queue = f"; import ctypes; print(ctypes.CDLL({implementation(C).__file__!r}).ERR_peek_error())"
    words = told(WHO + queue, HOTSWAP_TLS_RECORD="", OPENSSL_CONF=str(config))
    assert words == ["python", "proxy.tls.twin", "True", "0"]


def test_the_twin_serves_beside_c_of_other_sources() -> None:
    implementation(C)
    other = "from proxy.tls import form; form.FORMAT += 1; "
    assert told(other + WHO, HOTSWAP_TLS_RECORD="") == ["python", "proxy.tls.twin", "True"]
