from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.kit.descriptors import descriptors
from vm_agent.runners.store import Store


def listener() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def test_what_is_kept_stays_open_and_has_its_name_and_address(tmp_path: Path) -> None:
    store = Store()
    with listener() as one, socket.socket(socket.AF_UNIX) as two:
        two.bind(str(tmp_path / "two"))
        store.add("one", [os.dup(one.fileno())])
        store.add("two", [os.dup(two.fileno())])
        port = one.getsockname()[1]
    assert store.names == ["one", "two"]
    assert store.addresses() == (f"127.0.0.1:{port}", f"unix:{tmp_path / 'two'}")
    store.clear()
    assert (len(store), store.addresses()) == (0, ())


def test_addresses_are_written_as_hotswap_writes_them() -> None:
    store = Store()
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        store.add("six", [os.dup(sock.fileno())])
        assert store.addresses() == (f"[::1]:{sock.getsockname()[1]}",)
    store.clear()


def test_the_same_socket_is_not_kept_twice_and_both_ends_of_a_pipe_are_kept() -> None:
    before = descriptors()
    store = Store()
    with listener() as one:
        store.add("one", [os.dup(one.fileno()), os.dup(one.fileno())])
        store.add("again", [os.dup(one.fileno())])
    assert store.names == ["one"]
    store.add("pipe", os.pipe())
    assert store.names == ["one", "pipe", "pipe"]
    assert store.addresses()
    store.clear()
    assert descriptors() == before


def test_what_does_not_fit_is_closed_and_counted() -> None:
    before = descriptors()
    store = Store(limit=2)
    assert store.add("pipes", [*os.pipe(), *os.pipe()]) == 2
    assert len(store) == 2
    store.clear()
    assert descriptors() == before


def test_a_name_takes_all_that_have_it() -> None:
    before = descriptors()
    store = Store()
    store.add("pipe", os.pipe())
    with listener() as one:
        store.add("one", [os.dup(one.fileno())])
    store.remove("pipe")
    store.remove("unknown")
    assert store.names == ["one"]
    store.remove("one")
    assert descriptors() == before
