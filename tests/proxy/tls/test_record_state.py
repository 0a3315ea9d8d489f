"""The state of a record layer, and the vault under which its secrets travel."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tls.suites import BY_ID, TLS13, Suite
from proxy.tls.twin import RecordLayer
from proxy.tls.twin_state import secret_size
from tests.proxy.tls.records import (
    ALERT,
    ALL,
    BOTH,
    DATA,
    EACH_KIND,
    HANDSHAKE,
    KINDS,
    NATIVE_KINDS,
    PYTHON,
    C,
    Event,
    begin,
    granted,
    implementation,
    moved,
    named,
    noise,
    pair,
    plaintext,
    read,
    shaken,
    vaults,
)

SOME = KINDS[0]
HEADER = 34
WRONG = "state|suite|vault"
"""What a message about a state that cannot be restored talks about."""


def saved(layer: RecordLayer, name: str) -> tuple[bytes, Any]:
    """A state, and the vault that opens it."""
    module = implementation(name)
    saving, restoring = vaults(module, module)
    return layer.save(saving), restoring


def restored(name: str, state: bytes, vault: Any) -> RecordLayer:
    module = implementation(name)
    layer: RecordLayer = module.RecordLayer.restore(state, vault, granted(module))
    return layer


def seen(layer: RecordLayer) -> tuple[Any, ...]:
    return (layer.version, layer.suite, layer.server, layer.limit, layer.tx_seq, layer.rx_seq, layer.tx_explicit)


@pytest.mark.parametrize(("name", "suite"), ALL, ids=named)
@pytest.mark.parametrize("server", [True, False])
def test_what_was_saved_is_restored(name: str, suite: Suite, *, server: bool) -> None:
    layer = begin(name, suite, server=server, tx_seq=2**40, rx_seq=3, tx_explicit=2**64 - 1, limit=511)
    state, vault = saved(layer, name)
    again = restored(name, state, vault)
    assert seen(again) == seen(layer)
    assert repr(again) == repr(layer)
    assert again.seal(DATA, noise(2000)) == layer.seal(DATA, noise(2000))


@pytest.mark.parametrize("suite", NATIVE_KINDS, ids=named)
def test_the_implementations_read_each_others_states(suite: Suite) -> None:
    client, server = pair(C, suite, PYTHON, limit=3000)
    for turn in range(4):
        to = BOTH[turn % 2]
        server = moved(server, to)
        client = moved(client, BOTH[turn // 2])
        assert plaintext(server, client.seal(DATA, noise(10_000))) == noise(10_000)
        assert plaintext(client, server.seal(DATA, noise(10_000))) == noise(10_000)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_connection_may_move_between_any_two_records(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    for size in (0, 1, 100, 16384, 20_000):
        for kind in (DATA, HANDSHAKE):
            events, rest = read(server, client.seal(kind, noise(size + 1)))
            assert b"".join(event.content for event in events) == noise(size + 1)
            assert rest == b""
            client, server = moved(server := moved(server)), client  # and the sides change
            assert client.server is not server.server


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_saving_changes_nothing(name: str, suite: Suite) -> None:
    module = implementation(name)
    one, other = (begin(name, suite, server=True) for _ in range(2))
    vault = module.Vault()
    for _ in range(3):
        assert one.save(vault) != one.save(vault), "a nonce of the vault was used twice"
        assert one.seal(DATA, b"same") == other.seal(DATA, b"same")


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_the_size_of_a_state_is_known(name: str, suite: Suite) -> None:
    state, _ = saved(begin(name, suite, server=True), name)
    assert len(state) == HEADER + 8 + 2 * secret_size(suite) + 16
    assert len(state) <= 154


@pytest.mark.parametrize("suite", NATIVE_KINDS, ids=named)
def test_the_bytes_of_a_state_are_those_of_the_diagram(suite: Suite) -> None:
    for name in BOTH:
        numbers: dict[str, Any] = {"tx_seq": 0x0102030405060708, "rx_seq": 0x1112131415161718}
        layer = begin(name, suite, server=True, limit=0x1234, tx_explicit=0x2122232425262728, **numbers)
        state, vault = saved(layer, name)
        assert state[:HEADER] == (
            b"\x01\x01" + suite.version.to_bytes(2, "big") + suite.number.to_bytes(2, "big") + b"\x12\x34"
            + bytes.fromhex("0102030405060708 1112131415161718 2122232425262728") + b"\x00\x00"
        )  # fmt: skip
        assert state[HEADER : HEADER + 8] == (1).to_bytes(8, "big")
        secrets = vault.unwrap(state[:HEADER], state[HEADER:])
        if suite.version == TLS13:
            assert secrets == b"".join(secret for _, secret in shaken(suite).lines[::-1])
        assert len(secrets) == 2 * secret_size(suite)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_secrets_are_not_in_clear(name: str, suite: Suite) -> None:
    state, vault = saved(begin(name, suite, server=True), name)
    secrets = vault.unwrap(state[:HEADER], state[HEADER:])
    assert not any(secrets[at : at + 4] in state for at in range(len(secrets) - 3))


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_state_that_is_cut_off_anywhere_is_refused(name: str, suite: Suite) -> None:
    state, vault = saved(begin(name, suite, server=True), name)
    for size in range(len(state)):
        with pytest.raises(ValueError, match=WRONG):
            restored(name, state[:size], vault)
    with pytest.raises(ValueError, match=WRONG):
        restored(name, state + b"\x00", vault)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_state_that_was_changed_anywhere_is_refused(name: str, suite: Suite) -> None:
    state, vault = saved(begin(name, suite, server=True), name)
    for place in range(len(state)):
        for bit in range(8):
            changed = bytearray(state)
            changed[place] ^= 1 << bit
            with pytest.raises(ValueError, match=WRONG):
                restored(name, bytes(changed), vault)
    assert seen(restored(name, state, vault)) == seen(begin(name, suite, server=True))


@pytest.mark.parametrize("name", BOTH)
def test_a_state_of_another_vault_is_refused(name: str) -> None:
    state, _ = saved(begin(name, SOME, server=True), name)
    _, other = vaults(implementation(name), implementation(name))
    with pytest.raises(ValueError, match="another vault"):
        restored(name, state, other)


@pytest.mark.parametrize("name", BOTH)
@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=200), suite=st.sampled_from(KINDS), version=st.sampled_from([0x0303, 0x0304]))
def test_noise_is_no_state(name: str, noise: bytes, suite: Suite, version: int) -> None:
    _, vault = vaults(implementation(name), implementation(name))
    with pytest.raises(ValueError, match=WRONG):
        restored(name, noise, vault)
    head = b"\x01\x01" + version.to_bytes(2, "big") + suite.number.to_bytes(2, "big") + b"\x40\x00" + bytes(26)
    for content in (head + noise, (head + noise).ljust(HEADER + 24 + 2 * secret_size(suite), b"\x07")):
        with pytest.raises(ValueError, match=WRONG):
            restored(name, content, vault)


# ---- later rounds


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_later_state_brings_a_layer_up_to_date(name: str, suite: Suite) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    client, server = pair(name, suite)
    permit = module.Permit()
    copy = module.RecordLayer.restore(server.save(saving), restoring, permit)
    for _ in range(3):
        read(server, client.seal(DATA, noise(100)) + client.seal(DATA, b""))
        server.seal(DATA, noise(20_000))
        if suite.version == TLS13:
            server.update_tx()
            client.update_tx()
            server.update_rx()
        copy.reload(server.save(saving), restoring)
        assert seen(copy) == seen(server)
        assert copy.proves(b"\x17\x03\x03\x00\x20" + bytes(32), ours=True, seq=0) is None  # its keys are derived
    copy.reload(server.save(saving), restoring)
    permit.grant()
    record = client.seal(DATA, b"x")
    assert read(copy, record)[0] == [Event(DATA, b"x")]
    assert copy.seal(DATA, b"y") == server.seal(DATA, b"y")


@pytest.mark.parametrize("name", BOTH)
def test_a_layer_never_goes_back_to_an_older_state(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    layer = begin(name, SOME, server=True)
    old = layer.save(saving)
    layer.seal(DATA, b"x")
    new = layer.save(saving)
    copy = module.RecordLayer.restore(new, restoring, module.Permit())
    with pytest.raises(ValueError, match="older"):
        copy.reload(old, restoring)
    assert copy.tx_seq == 1
    copy.reload(new, restoring)


@pytest.mark.parametrize("name", BOTH)
def test_an_owners_layer_is_not_brought_to_any_state(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    permit = module.Permit()
    source = begin(name, SOME, server=True)
    copy = module.RecordLayer.restore(source.save(saving), restoring, permit)
    permit.grant()
    with pytest.raises(ValueError, match="owner"):
        copy.reload(source.save(saving), restoring)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("use", ["seal", "open", "update_tx", "update_rx"])
def test_neither_is_that_of_a_former_owner(name: str, use: str) -> None:
    """Frozen, it could own again: what it used since would be used once more."""
    module = implementation(name)
    saving, restoring = vaults(module, module)
    permit = granted(module)
    client, source = pair(name, SOME)
    record = client.seal(DATA, b"x")
    copy = module.RecordLayer.restore(source.save(saving), restoring, permit)
    arguments: dict[str, tuple[Any, ...]] = {"seal": (DATA, b"x"), "open": (record, 0)}
    getattr(copy, use)(*arguments.get(use, ()))
    before = seen(copy)
    permit.revoke()
    with pytest.raises(ValueError, match="owner"):
        copy.reload(source.save(saving), restoring)
    assert seen(copy) == before


@pytest.mark.parametrize("name", BOTH)
def test_neither_is_one_that_came_of_a_handshake(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    source = begin(name, SOME, server=True)
    layer = begin(name, SOME, server=True, tx_seq=7, permit=module.Permit())
    with pytest.raises(ValueError, match="owner"):
        layer.reload(source.save(saving), restoring)
    assert layer.tx_seq == 7


@pytest.mark.parametrize("name", BOTH)
def test_a_state_of_another_connection_is_not_taken(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    layer = module.RecordLayer.restore(begin(name, SOME, server=True).save(saving), restoring, module.Permit())
    for other in (begin(name, SOME, server=False), begin(name, BY_ID[0x1302], server=True)):
        with pytest.raises(ValueError, match="another connection"):
            layer.reload(other.save(saving), restoring)


@pytest.mark.parametrize("name", BOTH)
def test_a_state_that_cannot_be_read_leaves_a_layer_as_it_was(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    source = begin(name, SOME, server=True)
    permit = module.Permit()
    layer = module.RecordLayer.restore(source.save(saving), restoring, permit)
    source.seal(DATA, b"x")
    state = source.save(saving)
    for wrong in (b"", state[:-1], state[:-1] + bytes((state[-1] ^ 1,))):
        with pytest.raises(ValueError, match=WRONG):
            layer.reload(wrong, restoring)
    permit.grant()
    assert layer.seal(DATA, b"x") == begin(name, SOME, server=True).seal(DATA, b"x")


# ---- the vault


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, bytes(32)], ids=len)
@pytest.mark.parametrize("name", BOTH)
def test_only_a_vault_is_read_as_one(name: str, content: bytes) -> None:
    fd = os.memfd_create("none", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        with pytest.raises(ValueError, match="no key"):
            implementation(name).Vault.read(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", BOTH)
def test_a_descriptor_that_is_closed_is_an_error_of_the_system(name: str) -> None:
    module = implementation(name)
    fd = os.memfd_create("closed", os.MFD_CLOEXEC)
    os.close(fd)
    with pytest.raises(OSError, match="descriptor"):
        module.Vault.read(fd)
    with pytest.raises(OSError, match="descriptor"):
        module.Vault().write(fd)


@pytest.mark.parametrize("name", BOTH)
def test_reading_a_vault_leaves_the_descriptor_as_it_was(name: str) -> None:
    """Descriptors that were passed share their position."""
    module = implementation(name)
    fd = os.memfd_create("vault", os.MFD_CLOEXEC)
    try:
        module.Vault().write(fd)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
        module.Vault.read(fd)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize(("source", "destination"), [(one, other) for one in BOTH for other in BOTH])
def test_vaults_of_both_implementations_fit(source: str, destination: str) -> None:
    saving, restoring = vaults(implementation(source), implementation(destination))
    for size in (0, 1, 96):
        assert restoring.unwrap(b"header", saving.wrap(b"header", noise(size))) == noise(size)
    with pytest.raises(ValueError, match="changed"):
        restoring.unwrap(b"other", saving.wrap(b"header", b"secret"))
    with pytest.raises(ValueError, match="cut off"):
        restoring.unwrap(b"", b"x" * 23)


@pytest.mark.parametrize("name", BOTH)
def test_no_nonce_of_a_vault_comes_twice(name: str) -> None:
    vault = implementation(name).Vault()
    counts = [vault.wrap(b"", b"x")[:8] for _ in range(100)]
    assert counts == [count.to_bytes(8, "big") for count in range(1, 101)]


@pytest.mark.parametrize("name", BOTH)
def test_every_vault_has_a_key_of_its_own(name: str) -> None:
    module = implementation(name)
    assert len({module.Vault().wrap(b"", b"secret") for _ in range(100)}) == 100


@pytest.mark.parametrize("name", BOTH)
def test_a_vault_goes_one_way(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    layer = begin(name, SOME, server=True)
    state = layer.save(saving)
    with pytest.raises(ValueError, match="made here"):
        restored(name, state, saving)
    with pytest.raises(ValueError, match="was read"):
        layer.save(restoring)
    with pytest.raises(ValueError, match="was read"):
        restoring.write(0)


@pytest.mark.parametrize("name", BOTH)
def test_a_vault_that_has_ended_is_of_no_use(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    layer = begin(name, SOME, server=True)
    state = layer.save(saving)
    for vault in (saving, restoring):
        vault.end()
        vault.end()
    for use in (lambda: layer.save(saving), lambda: restored(name, state, restoring), lambda: saving.write(0)):
        with pytest.raises(ValueError, match="ended"):
            use()


@pytest.mark.parametrize("name", BOTH)
def test_an_alert_that_ended_a_connection_moves_with_it(name: str) -> None:
    client, server = pair(name, SOME)
    server = moved(server)
    with pytest.raises(Exception, match="type"):
        server.open(b"\x16\x03\x03\x00\x10", 0)
    server = moved(server, BOTH[name == C])
    assert read(client, server.seal(ALERT, b"\x02\x0a"))[0] == [Event(ALERT, b"\x02\x0a")]
