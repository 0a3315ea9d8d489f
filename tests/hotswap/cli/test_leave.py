"""`hotswap leave`, against a server that notes what it was told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap.errors import Busy, DeadlinePassed
from hotswap.place import here
from tests.hotswap.cli.server import FakeServer, run


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path) as server:
        server.status |= {"place": here(), "life": "a"}
        yield server


def test_it_waits_until_another_one_took_over(edge: FakeServer) -> None:
    edge.after = {"life": "b", "generation": 4}
    done = edge.run("leave")
    assert (done.exit_code, done.stdout) == (0, "edge: left: generation 4 took over\n")
    assert edge.orders == [{"life": "a"}]


def test_what_another_container_serves_is_left_alone(edge: FakeServer) -> None:
    edge.status["place"] = "mnt:[1]"
    done = edge.run("leave", "edge")
    assert (done.exit_code, done.stdout) == (0, "edge: nothing to leave: another container serves it\n")
    assert edge.orders == []


def test_where_nobody_serves_there_is_nothing_to_leave(tmp_path: Path) -> None:
    done = run("leave", "edge", runtime_dir=tmp_path)
    assert (done.exit_code, done.stdout) == (0, f"edge: nothing to leave: nobody serves it in {tmp_path}\n")


def test_nor_is_there_without_a_name(tmp_path: Path) -> None:
    done = run("leave", runtime_dir=tmp_path)
    assert (done.exit_code, done.stdout) == (0, f"hotswap: nothing to leave: nobody serves anything in {tmp_path}\n")


def test_one_that_leaves_at_the_same_moment_has_left(edge: FakeServer) -> None:
    edge.after = {"life": "b", "generation": 4}
    edge.failure = Busy("another generation took over meanwhile")
    done = edge.run("leave")
    assert (done.exit_code, done.stdout) == (0, "edge: left: generation 4 took over\n")


def test_one_that_does_not_leave_is_told_of(edge: FakeServer) -> None:
    edge.after = {}
    done = edge.run("leave", "--timeout", "300ms")
    assert (done.exit_code, "has not left within 0.3 s" in done.output) == (DeadlinePassed.exit_code, True)
