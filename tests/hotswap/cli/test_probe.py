"""`hotswap probe`, asked where this very place is the container, or another one is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap.place import here
from tests.hotswap.cli.server import FakeServer, run

ELSEWHERE = "mnt:[1]"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path) as server:
        server.status |= {"place": here(), "standbys": []}
        yield server


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Path]:
    """A runtime directory whose owner does not answer."""
    (tmp_path / "edge").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "edge" / "control.sock"))
        listener.listen(8)
        yield tmp_path


@pytest.mark.parametrize(
    ("place", "standbys", "options", "code", "words"),
    [
        (here(), [], [], 0, "yes: generation 3 serves in this container"),
        (ELSEWHERE, [], [], 1, "no: generation 3 serves in another container"),
        (ELSEWHERE, [{"place": here()}], [], 1, "no: generation 3 serves in another container"),
        (ELSEWHERE, [{"place": here()}], ["--or-idle"], 0, "yes: this container stands by for generation 3"),
        (ELSEWHERE, [{"place": "mnt:[2]"}], ["--or-idle"], 1, "no: generation 3 serves in another container"),
        ("", [], [], 1, "no: generation 3 serves in another container"),
    ],
)
def test_the_owner_is_told_by_its_place(
    edge: FakeServer, place: str, standbys: list[dict[str, str]], options: list[str], code: int, words: str
) -> None:
    edge.status |= {"place": place, "standbys": standbys}
    done = edge.run("probe", "owner", "edge", *options)
    assert (done.exit_code, done.output) == (code, f"{words}\n")


def test_it_waits_until_the_answer_is_yes(edge: FakeServer) -> None:
    edge.status["place"] = ELSEWHERE
    edge.looks = [ELSEWHERE, ELSEWHERE, here()]
    assert edge.run("probe", "owner", "--wait").exit_code == 0
    assert edge.looks == [here()]


def test_and_not_for_longer_than_it_is_told(edge: FakeServer) -> None:
    edge.status["place"] = ELSEWHERE
    done = edge.run("probe", "owner", "--wait", "--timeout", "100ms", "--json")
    assert done.exit_code == 1
    assert '"why": "generation 3 serves in another container"' in done.stdout


def test_ready_is_what_the_owner_says_wherever_it_lives(edge: FakeServer) -> None:
    edge.status["place"] = ELSEWHERE
    assert edge.run("probe", "ready").output == "yes: serving\n"
    edge.ready = (503, "draining")
    done = edge.run("probe", "ready")
    assert (done.exit_code, done.output) == (1, "no: edge: draining\n")


@pytest.mark.parametrize("place", [here(), ELSEWHERE])
def test_whoever_answers_lives_and_so_does_this_container(edge: FakeServer, place: str) -> None:
    edge.status["place"] = place
    assert edge.run("probe", "live").exit_code == 0


@pytest.mark.parametrize(
    ("signature", "code"), [(here(), 1), ("", 1), (ELSEWHERE, 0)], ids=["this container", "unknown", "another one"]
)
def test_only_the_container_that_hangs_is_not_alive(hung: Path, signature: str, code: int) -> None:
    (hung / "edge" / "lock").write_text(signature.ljust(64))
    assert run("probe", "live", "--timeout", "200ms", runtime_dir=hung).exit_code == code
    assert run("probe", "ready", "--timeout", "200ms", runtime_dir=hung).exit_code == 1
    assert run("probe", "owner", "--timeout", "200ms", runtime_dir=hung).exit_code == 1


@pytest.mark.parametrize(("question", "code"), [("live", 0), ("ready", 1), ("owner", 1)])
def test_while_nobody_serves_it_only_lives(tmp_path: Path, question: str, code: int) -> None:
    assert run("probe", question, "edge", runtime_dir=tmp_path).exit_code == code
    assert run("probe", question, runtime_dir=tmp_path).exit_code == code


@pytest.mark.parametrize("question", ["live", "ready", "owner"])
@pytest.mark.parametrize("variable", ["HOTSWAP_EMPTY=1", "SIDECARSET_VERSION=0"])
def test_an_empty_container_is_never_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert run("probe", question, "--wait", runtime_dir=tmp_path).output == "yes: this container is empty\n"


def test_with_several_names_one_has_to_be_said(edge: FakeServer) -> None:
    with FakeServer(edge.runtime_dir, "other"):
        done = edge.run("probe", "ready")
        assert (done.exit_code, "there are edge, other" in done.output) == (1, True)
        assert edge.run("probe", "ready", "other").exit_code == 0


def test_what_proves_no_hang_is_no_reason_to_end_a_container(edge: FakeServer) -> None:
    with FakeServer(edge.runtime_dir, "other"):
        assert edge.run("probe", "live").exit_code == 0
    edge.status["of no kind that can be told"] = object()
    assert edge.run("probe", "live", "edge").exit_code == 0
    assert edge.run("probe", "owner", "edge").exit_code == 1
