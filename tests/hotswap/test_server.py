from __future__ import annotations

from collections.abc import Mapping

import pytest

from hotswap.server import Server
from hotswap.swappable import Swappable, Value


class Line:
    """The least that is a value."""

    kind = "line"
    changes = 0

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.fd = serial + 100

    def save(self, now: float) -> bytes:
        return b""


class Least(Server):
    """Writes what the text of `Server` asks for, as far as these tests need it."""

    def __init__(self, *serials: int) -> None:
        self.lines = {serial: Line(serial) for serial in serials}
        self.forgotten: list[int] = []

    def values(self) -> Mapping[int, Value]:
        return self.lines

    def forget(self, serial: int) -> None:
        del self.lines[serial]
        self.forgotten.append(serial)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("schemas", ()),
        ("wanted", ()),
        ("adopt", ({},)),
        ("values", ()),
        ("restore", (None, 0.0)),
        ("forget", (1,)),
        ("freeze", ()),
        ("thaw", ()),
        ("start", ()),
    ],
)
def test_what_must_be_written_says_so(method: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(NotImplementedError):
        getattr(Server(), method)(*arguments)


def test_everything_else_has_a_default_and_the_whole_is_swappable() -> None:
    names = {name for name in vars(Swappable) if not name.startswith("_")}
    assert names <= {name for name in dir(Server) if not name.startswith("_")}
    swappable: Swappable = Server()
    assert swappable is not None


def test_everything_moves_and_nothing_waits() -> None:
    server = Least(1, 2)
    server.agree({"line": 1}, ["127.0.0.1:80"])
    server.sharing(True)
    server.drain(5.0)
    assert (dict(server.staying()), list(server.stragglers()), server.in_flight()) == ({}, [], 0)
    assert (server.save_shared(0.0), server.status()) == (b"", {})
    server.restore_shared(b"", 0.0)


def test_a_value_that_cannot_move_is_never_given_up_in_silence() -> None:
    with pytest.raises(NotImplementedError, match=r"\[1\] cannot move: too new"):
        Least(1).keep([1], "too new")


def test_it_is_idle_when_nobody_is_left_or_everything_moved() -> None:
    server = Least(1)
    assert not server.idle()
    server.forget(1)
    assert server.idle()
    server = Least(1)
    server.retire([], {})
    assert server.idle()


def test_abandoning_forgets_every_connection() -> None:
    server = Least(3, 1, 2)
    server.abandon()  # at a destination, which starts next: thawing is not for it
    assert sorted(server.forgotten) == [1, 2, 3]


def test_a_retired_server_that_is_left_with_the_listeners_serves_on() -> None:
    server = Least(1)
    thawed: list[bool] = []
    server.thaw = lambda: thawed.append(True)  # type: ignore[method-assign]
    server.retire([], {})
    server.abandon()
    assert thawed == [True]
    server.lines[2] = Line(2)
    assert not server.idle()


def test_connections_are_listed_for_people() -> None:
    assert Least(7).connections() == [{"serial": 7, "kind": "line", "fd": 107}]
