"""Successors that somebody else starts, or that stand by; and what an owner does that is told to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotswap.container import Container
from hotswap.errors import Busy, DeadlinePassed, Draining, Superseded
from tests.hotswap.echo import PATIENCE, Client, Echo
from tests.kit.offspring import kill, wait_for_stop
from tests.kit.waiting import eventually

IDLE = Container(after_handover="idle")
WAIT = Container(if_busy="wait")


def standbys(echo: Echo, *generations: int) -> list[dict[str, Any]]:
    """Wait until these stand by."""

    def there() -> bool:
        status = echo.try_status()
        return status is not None and {one["generation"] for one in status["standbys"]} == {*generations}

    eventually(there, within=PATIENCE, what=f"{generations} stand by")
    present: list[dict[str, Any]] = echo.status()["standbys"]
    return present


def pair(echo: Echo) -> tuple[int, int, Client]:
    """An owner, and one that stands by, as after an upgrade of containers."""
    first = echo.start(build="1", container=IDLE)
    client = echo.client()
    client.say(b"one")
    second = echo.start(build="2", container=IDLE)
    standbys(echo, 1)
    return first, second, client


def waiting(echo: Echo, **order: Any) -> Iterator[dict[str, Any]]:
    """An external upgrade that waits; what it tells from then on."""
    told = echo.control().events("/upgrade", {"external": True, "timeout": 15.0, **order}, timeout=PATIENCE)
    assert next(told)["event"] == "waiting"
    return told


# -- standing by -----------------------------------------------------------------------------------------------


def test_after_the_handover_it_stands_by_in_a_bare_interpreter(echo: Echo) -> None:
    first, _, client = pair(echo)
    assert Path(f"/proc/{first}/comm").read_text() == "hotswap-idle\n"
    rss = next(line for line in Path(f"/proc/{first}/status").read_text().splitlines() if line.startswith("VmRSS"))
    assert int(rss.split()[1]) < 16 * 1024
    client.say(b"two")
    echo.terminate(first)
    assert echo.exit_code(first) == 0
    standbys(echo)


def test_who_stands_by_follows_the_owners(echo: Echo) -> None:
    pair(echo)
    echo.start(build="3", container=IDLE)
    standbys(echo, 1, 2)


def test_one_that_is_started_again_with_the_old_version_stands_by(echo: Echo) -> None:
    first, second, client = pair(echo)
    echo.kill(first)
    again = echo.launch(build="1", container=IDLE)
    [one] = standbys(echo, 0)
    assert one["build"] == "1"
    assert echo.status()["pid"] == second
    client.say(b"two")
    echo.terminate(again)
    assert echo.exit_code(again) == 0


def test_the_way_back_is_to_call_who_stands_by(echo: Echo) -> None:
    first, second, client = pair(echo)
    result = echo.upgrade(rollback=True, timeout=15.0)
    assert (result["ok"], result["generation"], result["connections"]) == (True, 3, 1)
    echo.wait_served_by(first)
    client.say(b"two")
    assert [one["generation"] for one in standbys(echo, 2)] == [2]
    assert [record["how"] for record in echo.history()] == ["cold", "takeover", "rollback"]
    assert echo.history()[-1]["restores"] == 1
    # What was taken back does not come again by itself.
    echo.kill(second)
    assert echo.exit_code(echo.launch(build="2")) == Superseded.exit_code


def test_a_bake_that_fails_calls_who_stands_by(echo: Echo) -> None:
    first = echo.start(build="1", container=IDLE)
    client = echo.client()
    told = waiting(echo, bake={"seconds": 30.0, "crashes": 0})
    echo.launch(build="2", container=IDLE)
    assert [*told][-1]["ok"]
    echo.wait_served_by(first)
    client.say(b"two")
    assert [record["how"] for record in echo.history()] == ["cold", "takeover", "rollback"]


def test_when_the_owner_dies_at_once_the_one_before_serves_though_nobody_knew_it_yet(echo: Echo) -> None:
    """It did not even have the time to stand by."""
    first = echo.start(build="1", container=IDLE)
    second = echo.start(build="2", container=IDLE)
    echo.kill(second)
    echo.wait_served_by(first)


def test_a_rehearsed_rollback_leaves_who_stands_by_standing_by(echo: Echo) -> None:
    first, second, client = pair(echo)
    result = echo.upgrade(rollback=True, dry_run=True, timeout=15.0)
    assert (result["ok"], result["dry_run"]) == (True, True)
    standbys(echo, 1)
    assert echo.status()["pid"] == second
    client.say(b"two")
    assert echo.upgrade(rollback=True, timeout=15.0)["ok"]
    echo.wait_served_by(first)
    client.say(b"three")


def test_when_the_owner_dies_who_stands_by_serves(echo: Echo) -> None:
    first, second, client = pair(echo)
    client.close()
    echo.kill(second)
    echo.wait_served_by(first)
    echo.client().say(b"again")
    assert echo.status()["generation"] == 1
    third = echo.start(build="2", container=IDLE)  # started again, it takes over as anything newer would
    assert echo.status()["pid"] == third


def test_when_the_owner_ends_on_purpose_nobody_takes_its_place(echo: Echo) -> None:
    first, second, client = pair(echo)
    client.close()
    echo.control().post("/drain", {})
    assert echo.exit_code(second) == 0
    assert Path(f"/proc/{first}/comm").read_text() == "hotswap-idle\n"
    third = echo.start(build="3")
    standbys(echo, 1)
    echo.kill(third)
    echo.wait_served_by(first)


def test_who_was_superseded_stays_so_when_everybody_dies(echo: Echo) -> None:
    echo.start(build="1")
    second = echo.start(build="2")
    echo.kill(second)
    second = echo.start(build="2")
    assert echo.exit_code(echo.launch(build="1")) == Superseded.exit_code
    echo.kill(second)
    first = echo.start(build="1")  # nobody serves: whoever comes does
    assert echo.status()["pid"] == first
    echo.start(build="2")


# -- revisions -------------------------------------------------------------------------------------------------


def test_revisions_decide_who_takes_over(echo: Echo) -> None:
    echo.start(build="1", container=Container(revision=1))
    second = echo.start(build="2", container=Container(revision=2))
    old = echo.launch(build="3", container=Container(revision=1))
    assert echo.exit_code(old) == Superseded.exit_code
    assert "revision 2 serves already, and this is revision 1" in echo.log_text().splitlines()[-1]
    assert echo.status()["pid"] == second
    back = echo.start(build="1", container=Container(revision=3))  # the old image on purpose: a new revision of it
    assert echo.status()["pid"] == back


def test_with_newer_the_same_version_has_nothing_to_bring(echo: Echo) -> None:
    first = echo.start(takeover="newer", container=IDLE)
    echo.launch(takeover="newer", container=IDLE)
    standbys(echo, 0)
    second = echo.start(takeover="newer", build="2", container=IDLE)
    assert echo.status()["pid"] == second != first


# -- two at once -----------------------------------------------------------------------------------------------


def test_of_two_at_once_one_wins_and_the_other_is_told_or_waits(echo: Echo) -> None:
    echo.start(build="1")
    client = echo.client()
    echo.arm("destination.send_round_done.before:stop")
    winner = echo.launch(build="2")
    wait_for_stop(winner, within=PATIENCE)
    echo.arm()
    waiting = echo.launch(build="3", container=WAIT)
    assert echo.exit_code(echo.launch(build="4")) == Busy.exit_code
    eventually(lambda: "waiting for its turn" in echo.log_text(), within=PATIENCE, what="the other one waits")
    kill(winner, signal.SIGCONT)
    echo.wait_served_by(waiting)
    client.say(b"still here")
    assert [record["outcome"] for record in echo.history()][:2] == [
        "superseded by generation 2",
        "superseded by generation 3",
    ]


def test_one_that_waits_for_the_end_of_a_drain_starts_cold(echo: Echo) -> None:
    echo.start(build="1")
    client = echo.client()
    client.say(b"one")
    client.send(b"half a li")
    echo.control().post("/drain", {"deadline": 10.0})
    waiting = echo.launch(build="2", container=WAIT)
    eventually(lambda: "waiting for its turn" in echo.log_text(), within=PATIENCE, what="it waits")
    client.send(b"ne\n")
    client.close()
    echo.wait_served_by(waiting)
    assert echo.status()["generation"] == 1


# -- a drain that a successor ends -------------------------------------------------------------------------------


def test_while_the_listeners_of_a_drain_are_open_a_successor_may_come(echo: Echo) -> None:
    first = echo.start(build="1")
    client = echo.client()
    client.say(b"one")
    watching = echo.control().events("/drain", {"deadline": 15.0, "delay": 10.0, "watch": True}, timeout=PATIENCE)
    assert next(watching)["listeners"] == "open"
    second = echo.start(build="2")
    assert [*watching][-1]["message"] == "a new generation took everything over"
    assert echo.exit_code(first) == 0
    client.say(b"two")
    assert echo.status()["pid"] == second
    echo.client().say(b"a new one")


def test_once_they_are_closed_it_comes_too_late(echo: Echo) -> None:
    echo.start(build="1")
    client = echo.client()
    client.send(b"half a li")
    echo.control().post("/drain", {"deadline": 10.0})
    assert echo.exit_code(echo.launch(build="2")) == Draining.exit_code


# -- told to end -----------------------------------------------------------------------------------------------


def test_told_to_end_it_hands_over_to_who_stands_by(echo: Echo) -> None:
    first, second, client = pair(echo)
    echo.terminate(second)
    assert echo.exit_code(second) == 0
    echo.wait_served_by(first)
    client.say(b"two")
    last = echo.history()[-1]
    assert (last["generation"], last["connections"]) == (3, 1)
    third = echo.start(build="2", container=IDLE)  # it left, and was not found wanting: it may come back
    assert echo.status()["pid"] == third
    client.say(b"three")


def test_told_to_end_while_another_one_takes_over_it_lets_it(echo: Echo) -> None:
    first = echo.start(build="1", container=IDLE)
    client = echo.client()
    echo.arm("destination.send_round_done.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    echo.terminate(first)
    eventually(lambda: "told to end" in echo.log_text(), within=PATIENCE, what="it waits for its successor")
    kill(second, signal.SIGCONT)
    echo.wait_served_by(second)
    assert echo.exit_code(first) == 0, "it does not stand by: it was told to end"
    client.say(b"two")


def test_told_to_end_twice_it_waits_for_nobody(echo: Echo) -> None:
    first = echo.start(build="1")
    echo.arm("destination.send_round_done.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    echo.terminate(first)
    eventually(lambda: "told to end" in echo.log_text(), within=PATIENCE, what="it waits for its successor")
    echo.terminate(first)
    assert echo.exit_code(first) == 0
    kill(second, signal.SIGCONT)
    assert echo.exit_code(second) != 0


def test_one_that_stands_by_and_does_not_come_is_not_waited_for_for_ever(echo: Echo) -> None:
    first, second, client = pair(echo)
    echo.stop(first)
    client.close()
    echo.terminate(second)
    assert echo.exit_code(second) == 0
    assert "draining" in echo.log_text()
    kill(first, signal.SIGCONT)


# -- waiting for a successor -----------------------------------------------------------------------------------


def test_an_external_upgrade_waits_and_tells_like_any_other(echo: Echo) -> None:
    first = echo.start(build="1")
    client = echo.client()
    client.say(b"one")
    told = waiting(echo)
    assert echo.status()["state"] == "serving"
    echo.start(build="2")
    *others, result = told
    assert [event["event"] for event in others] == ["connected", "round", "freezing", "owned"]
    assert (result["event"], result["ok"], result["connections"]) == ("result", True, 1)
    assert echo.exit_code(first) == 0
    client.say(b"two")


def test_nobody_came(echo: Echo) -> None:
    pid = echo.start()
    result = echo.upgrade(external=True, timeout=0.2)
    assert (result["exit_code"], result["message"]) == (
        DeadlinePassed.exit_code,
        "no new generation came within 0.2 s; give more by --timeout",
    )
    echo.no_successor(pid)


def test_one_that_dies_is_the_result_and_not_waited_for_again(echo: Echo) -> None:
    pid = echo.start(build="1")
    told = waiting(echo)
    echo.arm("destination.send_round_done.before:kill")
    echo.launch(build="2")
    result = [*told][-1]
    assert (result["exit_code"], "hung up" in result["message"]) == (14, True)
    echo.no_successor(pid)


def test_one_that_gives_up_beforehand_can_say_so(echo: Echo) -> None:
    pid = echo.start(build="1")
    told = waiting(echo)
    echo.control().post("/gave_up", {"code": 3, "message": "edge.yaml:3: name: missing", "version": "9"})
    [result] = told
    assert (result["exit_code"], result["message"]) == (3, "the new generation gave up: edge.yaml:3: name: missing")
    echo.no_successor(pid)
    assert "edge.yaml:3: name: missing" in echo.log_text()


def test_an_old_one_that_is_started_again_is_not_what_it_waits_for(echo: Echo) -> None:
    echo.start(build="1")
    second = echo.start(build="2")
    told = waiting(echo)
    assert echo.exit_code(echo.launch(build="1")) == Superseded.exit_code
    assert echo.status()["pid"] == second
    echo.start(build="3")
    assert [*told][-1]["ok"]
