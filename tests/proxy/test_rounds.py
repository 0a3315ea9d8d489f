"""Copying in rounds while the source serves."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.relays import TWO, relay, save
from tests.proxy.simulation import Socket, World

if TYPE_CHECKING:
    from hotswap.swappable import Saved


def test_unsent_bytes_make_a_connection_dirty_although_nothing_could_be_written() -> None:
    world = World(TWO)
    client, server = relay(world)
    client.accept_bytes(0)
    before = {serial: value.changes for serial, value in world.proxy.values().items()}
    server.send(b"x")
    assert all(value.changes > before[serial] for serial, value in world.proxy.values().items())


steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["connect", "accept", "refuse", "send", "answer", "fin", "end", "rst", "clog", "wait", "copy"]),
    ),
    max_size=40,
)


def normal(saved: list[Saved]) -> list[object]:
    """Floats of remaining time differ in the last bit: the two clocks do not start at the same moment."""

    def rounded(value: object) -> object:
        if isinstance(value, float):
            return round(value, 6)
        return [rounded(one) for one in value] if isinstance(value, list) else value

    return [(one.serial, one.kind, one.changes, rounded(msgspec.msgpack.decode(one.state))) for one in saved]


@given(steps)
@settings(max_examples=150, deadline=None)
def test_rounds_while_serving_amount_to_one_copy_at_the_freeze(script: list[tuple[int, str]]) -> None:
    world = World(TWO)
    kernel = world._boot()
    destination = world._proxy(kernel)
    clients: list[Socket] = []
    servers: list[Socket] = []
    for which, step in script:
        client = clients[which % len(clients)] if clients else None
        server = servers[which % len(servers)] if servers else None
        if step == "connect":
            clients.append(world.connect("db"))
        elif step in ("accept", "refuse") and world.dials:
            servers.append(world.dialled())
            if step == "accept":
                servers[-1].accept()
            else:
                servers[-1].refuse(errno.ECONNREFUSED)
        elif step == "copy":
            world.copy(world.proxy, destination, kernel)
        elif step == "wait":
            world.wait(0.7 * which)
        elif client and step == "send":
            client.send(b"x" * 30_000 * which + b".")
        elif client and step == "fin":
            client.fin()
        elif client and step == "rst":
            client.rst()
        elif server and not server.connecting and step == "answer":
            server.send(b"y")
        elif server and not server.connecting and step == "end":
            server.fin()
        elif server and not server.connecting and step == "clog":
            server.accept_bytes(which)
    world.copy(world.proxy, destination, kernel)
    destination.restore_shared(world.proxy.save_shared(world.kernel.clock()), kernel.clock())
    assert normal(save(destination)) == normal(save(world.proxy))
    once = World(TWO).proxy
    for saved in save(world.proxy):
        socket = world.kernel.socket(world.proxy.values()[saved.serial].fd)
        once.restore(saved._replace(fd=once.reactor.kernel.install(socket)), once.reactor.kernel.clock())  # type: ignore[attr-defined]
    assert normal(save(once)) == normal(save(destination))
