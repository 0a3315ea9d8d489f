"""Successors that come late, hang or die, and owners that are told to end meanwhile."""

from __future__ import annotations

import os
import signal

import pytest

from hotswap import Limits
from hotswap.errors import Busy, DeadlinePassed, Superseded
from tests.hotswap.echo import PATIENCE, Echo
from tests.hotswap.test_succession import IDLE, pair, standbys, waiting
from tests.kit.offspring import kill, wait_for_stop
from tests.kit.waiting import eventually

PATIENT = Limits(attempt=120.0, freeze=2.0, grace=0.3, release=60.0, drain=10.0, farewell=5.0)


def stuck(echo: Echo, point: str, build: str) -> int:
    """A successor that stops at this point."""
    echo.arm(f"{point}:stop")
    pid = echo.launch(build=build)
    wait_for_stop(pid, within=PATIENCE)
    echo.arm()
    return pid


# -- told to end -----------------------------------------------------------------------------------------------


def test_told_to_end_while_it_waits_for_somebody_it_hands_over_to_who_stands_by(echo: Echo) -> None:
    first, second, client = pair(echo)
    told = waiting(echo)
    echo.terminate(second)
    assert "told to end" in [*told][-1]["message"]
    echo.wait_served_by(first)
    client.say(b"two")


def test_told_to_end_while_another_one_fails_to_take_over_it_calls_who_stands_by(echo: Echo) -> None:
    first, second, client = pair(echo)
    third = stuck(echo, "destination.send_round_done.before", "3")
    echo.terminate(second)
    eventually(lambda: "told to end" in echo.log_text(), within=PATIENCE, what="it waits for its successor")
    echo.kill(third)
    echo.wait_served_by(first)
    assert echo.exit_code(second) == 0
    client.say(b"two")


def test_a_hook_that_runs_twice_is_no_impatience(echo: Echo) -> None:
    first = echo.start(build="1")
    client = echo.client()
    second = stuck(echo, "destination.send_round_done.before", "2")
    for _ in range(2):
        echo.control().post("/leave", {})
    kill(second, signal.SIGCONT)
    echo.wait_served_by(second)
    assert echo.exit_code(first) == 0
    client.say(b"two")


def test_an_order_to_leave_is_for_the_one_that_was_looked_at(echo: Echo) -> None:
    pid = echo.start()
    with pytest.raises(Busy, match="another generation took over meanwhile"):
        echo.control().post("/leave", {"life": "of the one before"})
    assert echo.status()["state"] == "serving"
    echo.control().post("/leave", {"life": echo.status()["life"]})
    assert echo.exit_code(pid) == 0


def test_told_to_end_after_it_gave_everything_away_it_ends_even_if_the_other_one_dies(echo: Echo) -> None:
    first = echo.start(build="1", limits=PATIENT)
    second = stuck(echo, "destination.send_released.before", "2")
    echo.terminate(first)
    echo.kill(second)
    assert echo.exit_code(first) == 0


def test_a_drain_goes_on_if_the_successor_dies_that_had_ended_it(echo: Echo) -> None:
    first = echo.start(build="1", limits=PATIENT)
    echo.control().post("/drain", {"deadline": 15.0, "delay": 10.0})
    second = stuck(echo, "destination.send_released.before", "2")
    echo.kill(second)
    assert echo.exit_code(first) == 0


def test_a_drain_is_over_in_time_whatever_a_successor_does(echo: Echo) -> None:
    first = echo.start(build="1", limits=PATIENT)
    echo.control().post("/drain", {"deadline": 2.0, "delay": 1.9})
    second = stuck(echo, "destination.send_round_done.before", "2")
    assert echo.exit_code(first) == 0
    kill(second, signal.SIGCONT)
    assert echo.exit_code(second) != 0


# -- who is told to come -----------------------------------------------------------------------------------------


def test_who_was_called_back_is_as_fast_as_before_and_can_be_told_to_end(echo: Echo) -> None:
    first, second = echo.start(build="1", container=IDLE), echo.start(build="2", container=IDLE)
    standbys(echo, 1)
    assert os.getpriority(os.PRIO_PROCESS, first) == os.getpriority(os.PRIO_PROCESS, second)
    assert echo.upgrade(rollback=True, timeout=15.0)["ok"]
    echo.wait_served_by(first)
    standbys(echo, 2)
    echo.kill(second)
    echo.terminate(first)
    assert echo.exit_code(first) == 0


def test_who_was_told_to_come_and_comes_too_late_stands_by_again(echo: Echo) -> None:
    first, second, client = pair(echo)
    echo.stop(first)
    result = echo.upgrade(rollback=True, timeout=0.3)
    assert result["exit_code"] == DeadlinePassed.exit_code
    kill(first, signal.SIGCONT)
    [one] = standbys(echo, 1)
    assert one["build"] == "1"
    assert echo.status()["pid"] == second
    client.say(b"two")
    assert echo.upgrade(rollback=True, timeout=15.0)["ok"], "it can be called again"
    echo.wait_served_by(first)


# -- deaths ------------------------------------------------------------------------------------------------------


def test_who_was_superseded_stays_so_when_the_owner_dies_before_it_told_its_history(echo: Echo) -> None:
    echo.start(build="1")
    second = echo.start(build="2")
    third = stuck(echo, "destination.send_round_done.before", "3")
    echo.kill(second)
    kill(third, signal.SIGCONT)
    echo.wait_served_by(third)
    assert echo.exit_code(echo.launch(build="1")) == Superseded.exit_code


def test_what_was_refused_is_told_once(echo: Echo) -> None:
    echo.start()
    command = ["sh", "-c", 'ulimit -n 60; exec "$@"', "sh", *echo.command(build="2")]
    result = echo.upgrade(command=command, cwd=str(echo.directory), timeout=15.0)
    assert (result["exit_code"], "RLIMIT_NOFILE" in result["message"]) == (11, True)
    assert [one for one in echo.news() if one[0] == "kept_on"] == [["kept_on", "upgrade", False]]
