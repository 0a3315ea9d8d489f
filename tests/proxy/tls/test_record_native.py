"""What only the record layer in C has: secrets that leave no trace, contexts that come and go, memory that is freed."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.tls import keys
from proxy.tls.errors import NotOwner, TlsError
from proxy.tls.suites import BY_ID, TLS13, Suite
from tests.kit.companion import ROOT
from tests.proxy.tls.records import (
    DATA,
    NATIVE_KINDS,
    C,
    begin,
    granted,
    implementation,
    key_log_line,
    moved,
    named,
    noise,
    pair,
    plaintext,
    shaken,
    vaults,
)

SOME = BY_ID[0x1301]

# ---- secrets in memory


HOLDER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from proxy.tls import _record as native
version, suite, count, size = map(int, sys.argv[2:6])
secrets, permit, vault = native.Secrets(), native.Permit(), native.Vault()
client_random, server_random = os.read(0, 32), os.read(0, 32)
for _ in range(count):
    secrets.line(os.read(0, size))  # exactly one line: no copy of it stays in a buffer
permit.grant()
layers = [
    native.RecordLayer.begin(
        secrets, permit, server=server, version=version, suite=suite, client_random=client_random,
        server_random=server_random, tx_seq=0, rx_seq=0,
    )
    for server in (True, False)
]
secrets.end()
server, client = layers
assert client.open(server.seal(23, b"x" * 50_000), 0)[1] == b"x" * 50_000
assert server.open(client.seal(23, b"x"), 0)[1] == b"x"
assert server.proves(client.seal(22, b"x"), ours=False, seq=1) == b"x"
state = server.save(vault)
vault.write(os.memfd_create("vault"))
os.write(1, b"1")
os.read(0, 1)
server.end()
client.end()
vault.end()
os.write(1, b"2")
os.read(0, 1)
"""


RESERVED = 1 << 36
"""Bytes; what is so large is nobody's memory: scripts/sanitize reserves it to keep its books."""


def found(pid: int, needles: list[bytes]) -> list[int]:
    """How often each is in the memory of a process."""
    counts = [0] * len(needles)
    home = Path("/proc", str(pid))
    with (home / "maps").open() as maps, (home / "mem").open("rb", 0) as memory:
        for line in maps:
            span, mode, *_ = line.split()
            if "w" not in mode or "[v" in line:
                continue
            begin_, end = (int(word, 16) for word in span.split("-"))
            if end - begin_ >= RESERVED:
                continue
            content = os.pread(memory.fileno(), end - begin_, begin_)
            counts = [count + content.count(needle) for count, needle in zip(counts, needles, strict=True)]
    return counts


def vault_key(pid: int) -> bytes:
    """From the memfd that a process wrote it to."""
    (link,) = (link for link in Path(f"/proc/{pid}/fd").iterdir() if "memfd:vault" in str(link.readlink()))
    key = link.read_bytes()
    assert len(key) == 32
    return key


def needles_of(suite: Suite) -> tuple[list[bytes], list[bytes]]:
    """What must be there while the layers live, and what must never be there."""
    hello = shaken(suite, seed=99)
    secrets = [secret for _, secret in hello.lines]
    text = [secret.hex().encode() for secret in secrets]
    if suite.version == TLS13:
        derived = [key for secret in secrets for key in keys.traffic_keys(suite, secret)]
        return [*secrets, *derived], text
    pairs = keys.key_block(suite, secrets[0], hello.client_random, hello.server_random)
    return [key for key, _ in pairs], [*text, *secrets]


@pytest.mark.parametrize("suite", NATIVE_KINDS, ids=named)
def test_secrets_are_in_memory_while_they_are_needed_and_then_no_more(suite: Suite) -> None:
    implementation(C)
    hello = shaken(suite, seed=99)
    lines = [key_log_line(label, hello.client_random, secret) for label, secret in hello.lines]
    sizes = {len(line) for line in lines}
    argv = [sys.executable, "-c", HOLDER, str(ROOT), str(suite.version), str(suite.number), str(len(lines))]
    process = subprocess.Popen([*argv, str(sizes.pop())], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    needed, never = needles_of(suite)
    try:
        process.stdin.write(hello.client_random + hello.server_random + b"".join(lines))
        process.stdin.flush()
        assert process.stdout.read(1) == b"1"
        needed.append(vault_key(process.pid))
        assert all(found(process.pid, needed)), "the scan does not find what is there"
        assert not any(found(process.pid, never))
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"2"
        assert not any(found(process.pid, needed + never))
    finally:
        process.kill()
        process.communicate()


# ---- contexts


@pytest.fixture
def limited() -> Iterator[Any]:
    module = implementation(C)
    yield module.set_context_limit
    module.set_context_limit(1024)


def test_a_context_is_made_when_it_is_needed(limited: Any) -> None:
    module = implementation(C)
    gc.collect()
    before = module.contexts()
    client, server = pair(C, SOME)
    assert module.contexts() == before
    record = client.seal(DATA, b"x")
    assert module.contexts() == before + 1
    server.open(record, 0)
    assert module.contexts() == before + 2
    saving, restoring = vaults(module, module)
    restored = module.RecordLayer.restore(client.save(saving), restoring, granted(module))
    assert module.contexts() == before + 2
    client.end()
    assert module.contexts() == before + 1
    del server, restored
    gc.collect()
    assert module.contexts() == before


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_more_connections_than_contexts_go_on_all_the_same(limit: int, limited: Any) -> None:
    module = implementation(C)
    limited(limit)
    pairs = [pair(C, suite, seed=seed) for seed in range(4) for suite in NATIVE_KINDS]
    for turn in range(4):
        order = pairs if turn % 2 else pairs[::-1]
        for index, (client, server) in enumerate(order):
            for one, other in ((client, server), (server, client))[: 1 + index % 2]:
                assert plaintext(other, one.seal(DATA, noise(100 + turn))) == noise(100 + turn)
            assert module.contexts() <= limit
        if turn == 2:
            pairs = [(moved(client), server) for client, server in pairs[::2]]


def test_the_longest_unused_context_is_given_up(limited: Any) -> None:
    module = implementation(C)
    limited(3)
    old, *others = (begin(C, SOME, server=True, seed=seed) for seed in range(4))
    for layer in (old, *others[:2]):
        layer.seal(DATA, b"")
    assert module.contexts() == 3
    others[2].seal(DATA, b"")  # takes that of `old`
    others[0].end()
    assert module.contexts() == 2
    old.end()
    assert module.contexts() == 2, "the context of another one was given up"


def test_use_keeps_a_context(limited: Any) -> None:
    module = implementation(C)
    limited(2)
    one, other, third = (begin(C, SOME, server=True, seed=seed) for seed in range(3))
    for layer in (one, other, one, third):  # the third takes that of the other
        layer.seal(DATA, b"")
    assert module.contexts() == 2
    other.end()
    assert module.contexts() == 2
    one.end()
    assert module.contexts() == 1


def test_a_lower_limit_counts_at_once(limited: Any) -> None:
    module = implementation(C)
    layers = [begin(C, SOME, server=True, seed=seed) for seed in range(5)]
    for layer in layers:
        layer.seal(DATA, b"")
    limited(2)
    assert module.contexts() == 2
    assert [layer.tx_seq for layer in layers] == [1] * 5


@pytest.mark.parametrize("limit", [0, -1, 2**40, "2", None])
def test_a_limit_that_is_none_is_refused(limit: Any, limited: Any) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        limited(limit)


# ---- what others see of it


def test_nothing_but_the_module_is_offered_to_other_libraries() -> None:
    """Nor taken from them: where two have a function of one name, the loader chooses."""
    library = ctypes.CDLL(implementation(C).__file__)
    header = (ROOT / "proxy" / "tls" / "native" / "native.h").read_text()
    shared = re.findall(r"^(?!static|typedef|extern)\w[\w *]*?(\w+)\(", header, re.MULTILINE)
    shared += re.findall(r"^extern [\w ]+[ *](\w+);", header, re.MULTILINE)
    assert {"record_seal", "suite_find", "NotOwner", "Vault_Type"} < set(shared)
    assert [name for name in shared if hasattr(library, name)] == []
    assert hasattr(library, "PyInit__record")


# ---- memory


def test_a_layer_is_small() -> None:
    assert begin(C, SOME, server=True).__sizeof__() <= 400


def use_everything(seed: int) -> None:
    """Every path once, those that fail as well."""
    module = implementation(C)
    saving, restoring = vaults(module, module)
    for suite in NATIVE_KINDS:
        client, server = pair(C, suite, seed=seed, rekey_at=2, limit=1000)
        permit = module.Permit()
        copy = module.RecordLayer.restore(server.save(saving), restoring, permit)
        copy.reload(server.save(saving), restoring)
        stream = client.seal(DATA, noise(900)) + client.seal(DATA, b"") + client.seal(22, noise(100))
        at, _, _, _ = server.open(bytearray(stream), 0)
        assert at == len(stream)
        assert server.proves(stream[:900], ours=True, seq=0) is None
        if suite.version == TLS13:
            client.update_tx()
        failures: list[tuple[Any, tuple[Any, ...]]] = [
            (server.open, (b"\x17\x03\x03\x00\x20" + bytes(32), 0)),
            (server.open, (b"", 0)),
            (server.seal, (DATA, b"")),
            (module.RecordLayer.restore, (b"x" * 122, restoring, permit)),
            (module.RecordLayer.restore, (server.save(saving)[:-1], restoring, permit)),
            (copy.seal, (DATA, b"")),
            (client.seal, (DATA, None)),
            (module.Secrets().line, (b"CLIENT_RANDOM %d ?" % seed,)),
            (module.Secrets().take, ("CLIENT_RANDOM",)),
            (module.Vault.read, (2**20,)),
            (module.RecordLayer.restore, (server.save(saving)[:-16] + bytes(16), restoring, permit)),
            (restoring.unwrap, (b"", b"x" * 40)),
            (saving.unwrap, (b"", b"x" * 40)),
        ]
        for use, arguments in failures:
            with pytest.raises((TlsError, NotOwner, ValueError, TypeError, OSError)):
                use(*arguments)


def test_nothing_leaks() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def rounds(count: int) -> tuple[int, int]:
        for seed in range(count):
            use_everything(seed)
        gc.collect()
        return sys.getallocatedblocks(), resident()

    rounds(20)
    blocks, before = rounds(20)
    more, after = rounds(200)
    assert more - blocks < 100, "one object in each round would be 200"
    assert after - before < 600_000, "one context with each of 5 suites in each round would be 1.2 MB"
