"""Real generations under a socket that plays systemd: what it hears of them, and what becomes of their listeners."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap.errors import HotswapError
from hotswap.supervisor import name_of
from tests.hotswap.echo import PATIENCE, Client, Echo
from tests.kit.companion import ROOT
from tests.kit.ports import loopback, port_of
from tests.kit.supervisor import Played
from tests.kit.waiting import eventually


@pytest.fixture
def played(echo: Echo, tmp_path: Path) -> Iterator[Played]:
    with Played(tmp_path) as made:
        echo.supervisor = made
        yield made


def upgraded(echo: Echo, command: list[str]) -> bool:
    result = echo.upgrade(command=command, cwd=str(ROOT))
    assert result["ok"], result
    return True


def stored(played: Played) -> list[str]:
    return sorted(name for name, _ in played.stored)


def test_an_owner_stores_its_listeners_before_it_is_ready(echo: Echo, played: Played) -> None:
    admin = loopback()
    pid = echo.start(admin=admin)
    played.wait_told(READY="1")
    assert stored(played) == sorted([name_of(echo.options.address), name_of(admin)])
    *before, last = played.messages
    assert all("FDSTORE" in one.lines for one in before)
    assert last.lines == {"MAINPID": str(pid), "READY": "1", "STATUS": "generation 1 serves lines"}


def test_after_a_crash_no_client_is_refused(echo: Echo, played: Played) -> None:
    first = echo.start()
    played.wait_told(READY="1")
    echo.kill(first)
    waiting = echo.client()
    waiting.send(b"anybody?\n")  # nobody: it waits in the queue of the listener, which the supervisor holds
    played.messages.clear()
    second = echo.start()
    waiting.expect(b"anybody?")
    played.wait_told(MAINPID=str(second), READY="1")
    assert stored(played) == [name_of(echo.options.address)]


@pytest.mark.all
def test_what_was_passed_serves_for_unix_and_admin_too(echo: Echo, played: Played, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as admin:
        unix.bind(str(tmp_path / "lines"))
        unix.listen()
        inode = (tmp_path / "lines").stat().st_ino
        played.stored += [("lines", os.dup(unix.fileno())), ("admin", os.dup(admin.fileno()))]
        echo.start(address=f"unix:{tmp_path / 'lines'}", admin=f"127.0.0.1:{admin.getsockname()[1]}")
        assert (tmp_path / "lines").stat().st_ino == inode
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(tmp_path / "lines"))
        client.sendall(b"hello\n")
        assert b"hello" in client.recv(100)


@pytest.mark.all
def test_what_nobody_wants_is_closed_and_given_back(echo: Echo, played: Played) -> None:
    port = port_of(loopback())  # nobody else is given it meanwhile
    with socket.create_server(("127.0.0.1", port)) as other:
        played.stored.append((name_of(f"127.0.0.1:{port}"), os.dup(other.fileno())))
    echo.start()
    played.wait_told(READY="1")
    assert stored(played) == [name_of(echo.options.address)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_source_ends_when_the_new_main_process_is_known(echo: Echo, played: Played) -> None:
    first = echo.start()
    played.wait_told(READY="1")
    played.messages.clear()
    assert upgraded(echo, echo.command(build="2"))
    second = echo.status()["pid"]
    played.wait("a barrier", lambda: bool(played.barriers))
    assert played.find(MAINPID=str(second), READY="1") is not None
    own = [one.lines for one in played.messages if one.pid == first]
    assert own == [{"MAINPID": str(second)}, {"BARRIER": "1"}]
    assert first in echo.offspring.living()
    played.lift()
    assert echo.exit_code(first) == 0
    environment = Path(f"/proc/{second}/environ").read_bytes()
    assert b"LISTEN_FDS" not in environment
    assert b"NOTIFY_SOCKET" in environment


@pytest.mark.all
def test_nobody_waits_for_a_supervisor_that_went_away(echo: Echo, played: Played) -> None:
    first = echo.start()
    played.wait_told(READY="1")
    played.go_away()
    assert upgraded(echo, echo.command(build="2"))
    assert echo.exit_code(first) == 0


def test_a_supervisor_that_came_back_is_told_everything(echo: Echo, played: Played) -> None:
    pid = echo.start()
    played.wait_told(READY="1")
    played.restart()
    assert echo.control().post("/announce", {}) == {"supervised": True, "pid": pid}
    played.wait_told(MAINPID=str(pid), READY="1")
    assert stored(played) == [name_of(echo.options.address)]


def test_an_upgrade_to_another_address_takes_the_old_one_out_of_the_store(echo: Echo, played: Played) -> None:
    echo.start()
    played.wait_told(READY="1")
    old, new = echo.options.address, loopback()
    assert upgraded(echo, echo.command(build="2", address=new))
    played.wait("the new one is stored alone", lambda: stored(played) == [name_of(new)])
    played.lift()
    eventually(lambda: refused(old), within=PATIENCE, what="the old address refuses")


@pytest.mark.all
def test_a_drain_takes_listeners_out_of_the_store(echo: Echo, played: Played) -> None:
    pid = echo.start()
    played.wait_told(READY="1")
    client = echo.client()
    client.say(b"one")
    echo.control().post("/drain", {"deadline": 10.0})
    told = played.wait_told(STOPPING="1")
    assert told.lines["EXTEND_TIMEOUT_USEC"] == "20000000"
    played.wait("nothing is stored", lambda: stored(played) == [])
    client.close()
    assert echo.exit_code(pid) == 0


def test_an_owner_claims_to_be_the_main_process_before_it_refuses_another(echo: Echo, played: Played) -> None:
    """One that was started anew after a crash in a handover, with a build that was superseded in it."""
    first = echo.start()
    played.wait_told(READY="1")
    assert upgraded(echo, echo.command(build="2"))
    second = echo.status()["pid"]
    played.wait("a barrier", lambda: bool(played.barriers))
    played.lift()
    assert echo.exit_code(first) == 0
    played.messages.clear()
    assert echo.exit_code(echo.launch()) == 13
    played.hear()
    assert [one.lines["MAINPID"] for one in played.messages] == [str(second)]
    assert stored(played) == [name_of(echo.options.address)]
    echo.client().say(b"still there")


@pytest.mark.all
def test_one_that_was_started_anew_takes_over_from_a_living_owner(echo: Echo, played: Played) -> None:
    """With its own copies of the listeners, which are the same ones."""
    first = echo.start()
    played.wait_told(READY="1")
    client = echo.client()
    client.say(b"one")
    second = echo.start(build="2")
    client.say(b"two")
    played.wait("a barrier", lambda: bool(played.barriers))
    played.lift()
    assert echo.exit_code(first) == 0
    assert stored(played) == [name_of(echo.options.address)]
    assert echo.status()["pid"] == second


def test_after_the_death_of_another_one_it_waits_for_who_is_started_in_its_place(echo: Echo, played: Played) -> None:
    """For systemd the service has failed, and it ends whatever is the main process by then."""
    first = echo.start()
    played.wait_told(READY="1")
    played.messages.clear()
    echo.arm("source.copy_round.after:kill")
    with pytest.raises(HotswapError):
        upgraded(echo, echo.command(build="2"))
    assert echo.exit_code(first) == -signal.SIGKILL
    eventually(lambda: echo.try_status() is not None, within=PATIENCE, what="the other one serves")
    played.wait_told(FDSTORE="1")
    assert played.find(READY="1") is None
    third = echo.start(build="3")
    told = played.wait_told(READY="1")
    assert told.lines["MAINPID"] == str(third)
    assert stored(played) == [name_of(echo.options.address)]


def test_an_owner_beats_and_an_inert_one_does_not(echo: Echo, played: Played) -> None:
    played.watchdog = 0.3
    first = echo.start()
    played.wait_told(WATCHDOG="1", MAINPID=str(first))
    assert upgraded(echo, echo.command(build="2"))
    second = echo.status()["pid"]
    played.wait_told(WATCHDOG="1", MAINPID=str(second))
    owned = next(at for at, one in enumerate(played.messages) if one.pid == second)
    assert "FDSTORE" in played.messages[owned].lines
    assert [one for one in played.messages[owned:] if one.pid == first and "WATCHDOG" in one.lines] == []


@pytest.mark.all
def test_a_stuck_supervisor_holds_nobody_up(echo: Echo, played: Played) -> None:
    """It reads nothing, and its queue is full."""
    played.watchdog = 0.03
    pid = echo.start()
    client = echo.client()
    played.wait_told(READY="1")
    for number in range(100):
        client.say(b"%d" % number)
    assert echo.status()["pid"] == pid


def refused(address: str) -> bool:
    try:
        Client(address).close()
    except ConnectionRefusedError:
        return True
    return False
