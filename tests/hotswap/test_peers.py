"""Who is at the other end of a socket, and who may be."""

from __future__ import annotations

import os
import socket

from hotswap.handover import wire
from hotswap.handover.channel import Channel
from hotswap.peers import admitted, peer_uid
from tests.kit.users import User, needs_users


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_peer_uid_is_the_user_at_the_other_end() -> None:
    a, b = pair()
    with a, b:
        assert peer_uid(a) == peer_uid(b) == os.getuid()


def test_its_own_user_and_root_are_always_admitted() -> None:
    assert admitted(frozenset()) == {0, os.geteuid()}
    assert admitted(frozenset({1001})) == {0, os.geteuid(), 1001}


@needs_users
def test_a_peer_is_heard_on_a_channel_and_says_who_it_is() -> None:
    a, b = pair()
    left, right = Channel(a), Channel(b, frozenset({1001}))
    User(1001).run(lambda: left.send(wire.Owned()))
    received = right.receive()
    assert received is not None
    assert (received.message, received.uid) == (wire.Owned(), 1001)
    left.close()
    right.close()
