"""Nobody seals without ownership: two writers under one key would use a nonce twice. Each way to try it."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from proxy.tls.errors import NotOwner
from proxy.tls.suites import TLS13, Suite
from proxy.tls.twin import RecordLayer
from tests.proxy.tls.records import (
    ALERT,
    BOTH,
    DATA,
    EACH_KIND,
    KINDS,
    PYTHON,
    begin,
    granted,
    implementation,
    moved,
    named,
    pair,
    read,
    shaken,
    vaults,
)

SOME = KINDS[0]


def uses(layer: RecordLayer, record: bytes = b"") -> list[Callable[[], object]]:
    """What only an owner may do."""
    return [
        lambda: layer.seal(DATA, b"x"),
        lambda: layer.seal(ALERT, b"\x01\x00"),
        lambda: layer.open(record, 0),
        layer.update_tx,
        layer.update_rx,
    ]


def refused(layer: RecordLayer, record: bytes = b"") -> None:
    before = (layer.tx_seq, layer.rx_seq, layer.tx_explicit)
    for use in uses(layer, record):
        with pytest.raises(NotOwner):
            use()
    assert (layer.tx_seq, layer.rx_seq, layer.tx_explicit) == before


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_restored_layer_is_inert_until_ownership(name: str, suite: Suite) -> None:
    client, server = pair(name, suite)
    permit = implementation(name).Permit()
    record = client.seal(DATA, b"x")
    copied = moved(server, permit=permit)
    refused(copied, record)
    permit.grant()
    assert copied.open(record, 0) == (len(record), b"x", 0, None)


@pytest.mark.parametrize("name", BOTH)
def test_a_permit_tells_whether_it_is_granted(name: str) -> None:
    permit = implementation(name).Permit()
    told = [permit.granted]
    for change in (permit.grant, permit.grant, permit.revoke, permit.grant, permit.end, permit.revoke):
        change()
        told.append(permit.granted)
    assert told == [False, True, True, False, True, False, False]


@pytest.mark.parametrize("name", BOTH)
def test_ownership_that_was_revoked_can_come_back(name: str) -> None:
    module = implementation(name)
    permit = granted(module)
    layer = begin(name, SOME, server=True, permit=permit)
    permit.revoke()
    refused(layer)
    permit.grant()
    layer.seal(DATA, b"x")
    assert layer.tx_seq == 1


@pytest.mark.parametrize("name", BOTH)
def test_ownership_that_was_given_away_for_good_does_not(name: str) -> None:
    permit = granted(implementation(name))
    layer = begin(name, SOME, server=True, permit=permit)
    permit.end()
    with pytest.raises(NotOwner):
        permit.grant()
    permit.revoke()
    assert not permit.granted
    refused(layer)


@pytest.mark.parametrize("name", BOTH)
def test_layers_under_one_permit_go_silent_together(name: str) -> None:
    permit = granted(implementation(name))
    layers = [begin(name, suite, server=True, permit=permit) for suite in KINDS[:2]]
    other = begin(name, SOME, server=True)
    permit.end()
    for layer in layers:
        refused(layer)
    other.seal(DATA, b"x")


@pytest.mark.parametrize("name", BOTH)
def test_a_layer_can_go_on_under_another_permit(name: str) -> None:
    module = implementation(name)
    permit, next_one = granted(module), module.Permit()
    layer = begin(name, SOME, server=True, permit=permit)
    layer.assign(next_one)
    refused(layer)
    permit.end()
    next_one.grant()
    layer.seal(DATA, b"x")


@pytest.mark.parametrize("name", BOTH)
def test_what_an_inert_layer_may_do(name: str) -> None:
    module = implementation(name)
    client, server = pair(name, SOME)
    record = client.seal(DATA, b"x")
    inert = moved(server, permit=module.Permit())
    assert inert.proves(record, ours=False, seq=0) == b"x"
    saving, _ = vaults(module, module)
    assert len(inert.save(saving)) == 122


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_after_its_end_a_layer_does_nothing(name: str, suite: Suite) -> None:
    module = implementation(name)
    client, server = pair(name, suite)
    record = client.seal(DATA, b"x")
    saving, restoring = vaults(module, module)
    state = server.save(saving)
    server.seal(DATA, b"x")
    server.end()
    server.end()
    refused(server, record)
    others: list[Callable[[], object]] = [
        lambda: server.save(saving),
        lambda: server.reload(state, restoring),
        lambda: server.proves(record, ours=False, seq=0),
        lambda: server.assign(granted(module)),
    ]
    for use in others:
        with pytest.raises(NotOwner):
            use()
    assert (server.tx_seq, server.suite) == (1, suite.number)


@pytest.mark.parametrize("name", BOTH)
def test_a_stale_state_cannot_come_to_life_where_it_was_saved(name: str) -> None:
    module = implementation(name)
    vault = module.Vault()
    layer = begin(name, SOME, server=True)
    state = layer.save(vault)
    layer.seal(DATA, b"x")
    with pytest.raises(ValueError, match="made here"):
        module.RecordLayer.restore(state, vault, granted(module))


@pytest.mark.parametrize("name", BOTH)
def test_a_stale_state_cannot_come_to_life_after_the_attempt(name: str) -> None:
    module = implementation(name)
    saving, restoring = vaults(module, module)
    state = begin(name, SOME, server=True).save(saving)
    restoring.end()
    with pytest.raises(ValueError, match="ended"):
        module.RecordLayer.restore(state, restoring, granted(module))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("what", ["Permit", "Vault", "Secrets", "RecordLayer"])
def test_nothing_is_copied_or_pickled(name: str, what: str) -> None:
    module = implementation(name)
    one = begin(name, SOME, server=True) if what == "RecordLayer" else getattr(module, what)()
    for attempt in (copy.copy, copy.deepcopy, *(partial(pickle.dumps, protocol=p) for p in range(6))):
        with pytest.raises(TypeError):
            cast("Any", attempt)(one)


@pytest.mark.parametrize("name", BOTH)
def test_a_layer_is_made_by_begin_and_restore_alone(name: str) -> None:
    kind: Any = implementation(name).RecordLayer
    with pytest.raises(TypeError):
        kind()
    layer = begin(name, SOME, server=True)
    for attribute in ("tx_seq", "rx_seq", "version", "suite"):
        with pytest.raises(AttributeError):
            setattr(layer, attribute, 0)


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_what_is_no_data_costs_no_nonce(name: str, suite: Suite) -> None:
    layer = begin(name, suite, server=True)
    with pytest.raises(TypeError):
        layer.seal(DATA, None)  # type: ignore[arg-type]
    assert (layer.tx_seq, layer.tx_explicit) == (0, 0)


@pytest.mark.parametrize("suite", KINDS, ids=named)
def test_in_python_a_nonce_is_spent_before_it_is_used(suite: Suite) -> None:
    """What fails may skip one, for nobody knows how far it came."""

    class Failing:
        def encrypt(self, *_: object) -> bytes:
            raise MemoryError

    layer = begin(PYTHON, suite, server=True)
    layer._tx._cipher = cast("Any", Failing())
    with pytest.raises(MemoryError):
        layer.seal(DATA, b"x")
    assert (layer.tx_seq, layer.tx_explicit) == (1, int(suite.explicit_size > 0))


def sealed_meanwhile(layer: RecordLayer, place: int) -> tuple[bytes, bytes] | None:
    """A record, and another that is sealed within the same call: where signals and other threads may come in.

    That is where functions are entered and left. None if there are fewer places.
    """
    between: list[bytes] = []
    passed = 0

    def at_call(_frame: object, _event: str, _arg: object) -> None:
        nonlocal passed
        passed += 1
        if passed == place:
            sys.setprofile(None)
            between.append(layer.seal(DATA, b"inner"))

    before = sys.getprofile()
    sys.setprofile(at_call)
    try:
        outer = layer.seal(DATA, b"outer")
    finally:
        sys.setprofile(before)
    return (outer, between[0]) if between else None


@pytest.mark.parametrize("suite", KINDS, ids=named)
def test_in_python_sealing_may_be_interrupted_by_sealing(suite: Suite) -> None:
    """In C nothing comes in between."""
    places = 0
    while both := sealed_meanwhile(layer := begin(PYTHON, suite, server=True), places + 1):
        used = [seq for seq in range(2) for record in both if layer.proves(record, ours=True, seq=seq) is not None]
        assert used == [0, 1], f"a sequence number was used twice at place {places}"
        if suite.explicit_size:
            assert {record[5:13] for record in both} == {bytes(8), bytes(7) + b"\x01"}, f"a nonce, at place {places}"
        places += 1
    assert places > 10


# ---- forks


def in_child(attempt: Callable[[], str]) -> str:
    """What a forked child has to tell."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            told = attempt()
        except BaseException as error:  # noqa: BLE001  # the child must not return into the test
            told = f"failed: {error!r}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            return pipe.read().decode()
    finally:
        os.waitpid(pid, 0)


def outcome(use: Callable[[], object]) -> str:
    try:
        use()
    except NotOwner:
        return "not owner"
    return "did it"


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_a_forked_child_can_use_nothing_of_its_parent(name: str, suite: Suite) -> None:
    module = implementation(name)
    permit = granted(module)
    client, server = pair(name, suite, permit=permit)
    record = client.seal(DATA, b"x")
    server.seal(DATA, b"x")  # an EVP context is there, too
    saving, restoring = vaults(module, module)
    state = server.save(saving)
    secrets = shaken(suite).secrets(module)
    fd = os.memfd_create("vault", os.MFD_CLOEXEC)

    def child() -> str:
        attempts = [
            *uses(server, record),
            permit.grant,
            lambda: server.save(saving),
            lambda: server.reload(state, restoring),
            lambda: server.proves(record, ours=False, seq=0),
            lambda: server.assign(granted(module)),
            lambda: saving.wrap(b"", b""),
            lambda: saving.write(fd),
            lambda: restoring.unwrap(state[:34], state[34:]),
            lambda: secrets.take("CLIENT_RANDOM"),
            lambda: secrets.line(b" ".join([b"CLIENT_RANDOM", b"00" * 32, b"00" * 48])),
        ]
        found = {outcome(attempt) for attempt in attempts}
        server.end()
        saving.end()
        secrets.end()
        return f"{sorted(found)} {permit.granted}"

    assert in_child(child) == "['not owner'] False"
    os.close(fd)
    assert permit.granted
    assert read(server, record)[0][0].content == b"x"
    assert len(server.save(saving)) == len(state)


@pytest.mark.parametrize("name", BOTH)
def test_a_forked_child_may_begin_anew(name: str) -> None:
    """What it makes itself is its own: a destination may be a child that did not exec."""
    module = implementation(name)
    saving = module.Vault()
    fd = os.memfd_create("vault", os.MFD_CLOEXEC)
    saving.write(fd)
    server = begin(name, SOME, server=True)
    state = server.save(saving)

    def child() -> str:
        layer = module.RecordLayer.restore(state, module.Vault.read(fd), granted(module))
        return str(layer.seal(DATA, b"x").hex())

    assert in_child(child) == server.seal(DATA, b"x").hex()
    os.close(fd)


# ---- secrecy


@pytest.mark.parametrize(("name", "suite"), EACH_KIND, ids=named)
def test_nothing_prints_a_secret(name: str, suite: Suite) -> None:
    module = implementation(name)
    secrets = shaken(suite).secrets(module)
    layer = begin(name, suite, server=True)
    assert repr(layer) == f"<RecordLayer TLS {'1.3' if suite.version == TLS13 else '1.2'} {suite.name} server>"
    words = [secret.hex() for _, secret in shaken(suite).lines] + [
        repr(secret)[2:20] for _, secret in shaken(suite).lines
    ]
    printed = " ".join(repr(one) + str(one) for one in (layer, secrets, module.Vault(), granted(module)))
    assert not any(word in printed for word in words)
