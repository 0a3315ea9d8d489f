"""The end of a real generation: drained, by a signal, or with everything given away."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from hotswap.errors import (
    AttemptFailed,
)
from tests.hotswap.echo import PATIENCE, Echo
from tests.kit.offspring import kill, wait_for_stop
from tests.kit.waiting import eventually

# -- ending ---------------------------------------------------------------------------------------------------------


def test_drained_it_finishes_and_takes_its_sockets_away(echo: Echo) -> None:
    pid = echo.start()
    client = echo.client()
    client.say(b"one")
    assert echo.control().post("/drain", {"deadline": 10.0})["draining"] is True
    assert echo.status()["state"] == "draining"
    client.say(b"two")
    client.close()
    assert echo.exit_code(pid) == 0
    assert [path.name for path in echo.runtime.iterdir()] == ["lock"]


def test_a_drain_has_a_deadline(echo: Echo) -> None:
    pid = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.control().post("/drain", {"deadline": 0.1})
    assert echo.exit_code(pid) == 0
    assert client.sock.recv(100) == b""


def test_a_draining_generation_has_no_successor(echo: Echo) -> None:
    pid = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.control().post("/drain", {"deadline": 10.0})
    assert echo.exit_code(echo.launch(build="2")) == 28
    with pytest.raises(AttemptFailed, match="draining"):
        echo.upgrade()
    client.close()
    assert echo.exit_code(pid) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_a_second_one_ends_at_once(echo: Echo, number: signal.Signals) -> None:
    pid = echo.start()
    client = echo.client()
    client.say(b"one")
    kill(pid, number)
    eventually(lambda: echo.status()["state"] == "draining", within=PATIENCE, what="it drains")
    client.say(b"two")
    kill(pid, number)
    assert echo.exit_code(pid) == 128 + number


def test_a_hangup_signal_is_no_upgrade_and_no_end(echo: Echo) -> None:
    pid = echo.start()
    kill(pid, signal.SIGHUP)
    eventually(lambda: "reload" in echo.log_text(), within=PATIENCE, what="a word about it")
    echo.client().say(b"one")
    assert echo.status()["pid"] == pid


@pytest.mark.all
def test_sigterm_to_a_destination_ends_it_and_nothing_else(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.arm("destination.send_round_done.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    echo.terminate(second)
    kill(second, signal.SIGCONT)
    # What it was stopped in goes on, and then the signal: either way it is gone, and one of the two serves.
    code = echo.exit_code(second)
    assert code in {128 + signal.SIGTERM, 0}
    if code:
        echo.no_successor(first)
        client.say(b"two")


@pytest.mark.all
def test_sigterm_while_copying_aborts_and_drains(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.arm("destination.send_round_done.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    echo.terminate(first)
    eventually(lambda: echo.status()["state"] == "draining", within=PATIENCE, what="it drains")
    client.say(b"two")
    kill(second, signal.SIGCONT)
    assert echo.exit_code(second) == AttemptFailed.exit_code
    client.close()
    assert echo.exit_code(first) == 0


@pytest.mark.all
def test_sigterm_in_the_freeze_is_held_until_the_outcome(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.arm("destination.send_prepared.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    echo.terminate(first)
    client.send(b"two\n")
    client.expect(b"two")  # taken back after the freeze's deadline, then draining
    eventually(lambda: echo.status()["state"] == "draining", within=PATIENCE, what="it drains")
    client.close()
    assert echo.exit_code(first) == 0


@pytest.mark.all
def test_sigterm_after_the_commit_does_not_hurt_the_new_owner(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.arm("destination.send_released.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    echo.terminate(first)
    kill(second, signal.SIGCONT)
    assert echo.exit_code(first) == 0
    echo.wait_served_by(second)
    client.say(b"two")


@pytest.mark.all
def test_the_last_generation_leaves_no_socket_and_a_given_away_one_leaves_them(echo: Echo) -> None:
    first = echo.start()
    second = echo.start(build="2")
    assert echo.exit_code(first) == 0
    assert {path.name for path in echo.runtime.iterdir()} == {"lock", "lineage", "control.sock", "handover.sock"}
    echo.terminate(second)
    assert echo.exit_code(second) == 0
    assert [path.name for path in echo.runtime.iterdir()] == ["lock"]


@pytest.mark.all
def test_a_whole_chain_ends_with_every_process(echo: Echo) -> None:
    echo.start()
    client = echo.client()
    for generation in range(2, 7):
        client.say(b"line %d" % generation)
        assert echo.upgrade()["ok"]
    last: dict[str, Any] = echo.status()
    assert (last["generation"], last["server"]) == (6, {"lines": 5})
    eventually(lambda: echo.offspring.living() == [last["pid"]], within=PATIENCE, what="only the last one lives")
    client.close()
    echo.terminate(last["pid"])
    eventually(lambda: not echo.offspring.living(), within=PATIENCE, what="the last one ends")
