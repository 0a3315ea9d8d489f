"""Generations as real processes: how one comes to own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from hotswap import Generation, Limits, Server
from hotswap.control_client import CONTROL_SOCKET
from hotswap.errors import (
    AlreadyRunning,
    AttemptFailed,
    BindFailed,
    NotRunning,
    OwnerHung,
    SourceHung,
    Superseded,
    UsageError,
)
from hotswap.runtime import Runtime
from hotswap.serving import Serving
from tests.hotswap.echo import PATIENCE, Echo
from tests.kit.offspring import kill, wait_for_stop
from tests.kit.waiting import eventually

FAST = Limits(attempt=1.0, freeze=0.3, grace=0.2, release=1.0, drain=5.0, farewell=1.0)


# -- coming to own ---------------------------------------------------------------------------------------------


def test_alone_it_starts_cold(echo: Echo) -> None:
    pid = echo.start()
    client = echo.client()
    client.say(b"hello")
    status = echo.status()
    assert (status["generation"], status["connections"], status["server"]) == (1, 1, {"lines": 1})
    assert status["listeners"] == [{"name": "lines", "address": echo.options.address}]
    assert status["last_upgrade"] is None
    [record] = echo.history()
    assert (record["how"], record["pid"], record["outcome"]) == ("cold", pid, "serving")


def test_a_second_one_takes_over_with_the_connections(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    client.send(b"hal")
    second = echo.start(build="2")
    client.send(b"f\n")
    client.expect(b"half")
    assert echo.exit_code(first) == 0
    status = echo.status()
    assert (status["generation"], status["pid"]) == (2, second)
    assert (status["last_upgrade"]["how"], status["last_upgrade"]["connections"]) == ("takeover", 1)
    assert [record["outcome"] for record in echo.history()] == ["superseded by generation 2", "serving"]
    echo.client().say(b"a new client")


@pytest.mark.all
def test_require_needs_somebody_to_take_over_from(echo: Echo) -> None:
    assert echo.exit_code(echo.launch(takeover="require")) == NotRunning.exit_code
    first = echo.start()
    echo.start(takeover="require")
    assert echo.exit_code(first) == 0


def test_never_leaves_who_serves_alone(echo: Echo) -> None:
    first = echo.start(takeover="never")
    assert echo.exit_code(echo.launch(takeover="never", build="2")) == AlreadyRunning.exit_code
    assert echo.status()["pid"] == first
    assert len(echo.history()) == 1, "it did not even call"


def test_who_was_superseded_does_not_come_back_by_itself(echo: Echo) -> None:
    echo.start(build="old")
    second = echo.start(build="new")
    assert echo.exit_code(echo.launch(build="old")) == Superseded.exit_code
    assert echo.status()["pid"] == second
    third = echo.start(build="old", takeover="require")
    assert echo.status()["pid"] == third


@pytest.mark.all
def test_another_configuration_of_an_old_build_takes_over(echo: Echo) -> None:
    echo.start(build="old", config_id="1")
    echo.start(build="new", config_id="1")
    third = echo.start(build="old", config_id="2")
    assert echo.status()["pid"] == third


@pytest.mark.all
def test_many_at_once_come_to_one_owner(echo: Echo) -> None:
    pids = [echo.launch(takeover="never") for _ in range(5)]
    status = eventually(echo.try_status, within=PATIENCE, what="one serves")
    assert status is not None
    assert status["pid"] in pids
    codes = [echo.exit_code(pid) for pid in pids if pid != status["pid"]]
    assert codes == [AlreadyRunning.exit_code] * 4
    assert status["generation"] == 1


@pytest.mark.all
def test_an_address_in_use_ends_a_cold_start_and_leaves_the_name_free(echo: Echo) -> None:
    other = Echo(echo.directory / "other", echo.offspring)
    other.directory.mkdir()
    other.start()
    assert echo.exit_code(echo.launch(address=other.options.address)) == BindFailed.exit_code
    echo.start()


def test_a_signal_in_the_very_turn_of_taking_over_is_for_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of the inert time runs, but this process owns by now: it must not just end."""
    made = Generation("x", Server(), runtime_dir=tmp_path)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    made._serving = cast("Serving", object())

    async def run() -> None:
        told = asyncio.Event()
        made._end_inert(signal.SIGUSR1)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)  # as `Serving.open` does
        await asyncio.wait_for(told.wait(), PATIENCE)

    asyncio.run(run())
    assert ended == []


def test_takeover_is_one_of_four_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="auto, require, never or newer"):
        Generation("x", None, runtime_dir=tmp_path, takeover="perhaps")  # type: ignore[arg-type]


# -- owners that died or hang --------------------------------------------------------------------------------


def test_after_kill_9_the_stale_directory_is_no_obstacle(echo: Echo) -> None:
    echo.kill(echo.start())
    assert (echo.runtime / "handover.sock").is_socket()
    second = echo.start(takeover="never")
    assert echo.status()["pid"] == second
    assert echo.history()[0]["generation"] == 1, "a new chain: nobody was there to pass the old one on"


@pytest.mark.all
def test_what_looks_like_a_living_owner_by_its_pid_is_nobody(echo: Echo) -> None:
    """Pids are reused. This one lives, and has nothing to do with it."""
    echo.kill(echo.start())
    (echo.runtime / "lock").write_text(f"{os.getpid()}\n")
    (echo.runtime / "pid").write_text(f"{os.getpid()}\n")
    echo.start(takeover="never")


@pytest.mark.all
def test_a_stopped_owner_is_hung_and_not_replaced(echo: Echo) -> None:
    first = echo.start()
    echo.client().say(b"hello")
    echo.stop(first)
    assert echo.exit_code(echo.launch(limits=FAST, build="2")) in {SourceHung.exit_code, OwnerHung.exit_code}
    kill(first, signal.SIGCONT)
    echo.wait_served_by(first)
    echo.client().say(b"still here")


@pytest.mark.all
def test_a_lock_held_by_nobody_who_answers_is_an_owner_hung(echo: Echo) -> None:
    runtime = Runtime(Path(echo.options.runtime_dir), "echo")
    runtime.prepare()
    lock = runtime.try_lock()
    assert lock is not None
    try:
        assert echo.exit_code(echo.launch(limits=FAST)) == OwnerHung.exit_code
        assert "fuser" in echo.log_text()
        waiting = echo.launch()
    finally:
        os.close(lock)
    echo.wait_served_by(waiting)


# -- a destination somebody else started --------------------------------------------------------------------------


def test_one_that_hangs_up_is_not_taken_for_an_owner(echo: Echo) -> None:
    first = echo.start()
    echo.arm("destination.send_round_done.before:kill")
    assert echo.exit_code(echo.launch(build="2")) == -signal.SIGKILL
    record = eventually(lambda: echo.history()[1:], within=PATIENCE, what="the attempt is in the history")[0]
    assert record["outcome"].startswith("failed: the new generation")
    assert "owns" not in record["outcome"]
    echo.no_successor(first)


@pytest.mark.all
def test_one_that_is_stopped_in_the_freeze_wakes_up_to_the_abort(echo: Echo) -> None:
    first = echo.start(limits=FAST)
    client = echo.client()
    client.say(b"one")
    echo.arm("destination.send_prepared.before:stop")
    second = echo.launch(build="2", limits=FAST)
    wait_for_stop(second, within=PATIENCE)
    client.say(b"two")  # thawed
    kill(second, signal.SIGCONT)
    assert echo.exit_code(second) == AttemptFailed.exit_code
    client.say(b"three")
    assert echo.status()["pid"] == first


def test_a_source_that_dies_with_the_byte_out_loses_nothing(echo: Echo) -> None:
    first = echo.start()
    client = echo.client()
    client.say(b"one")
    echo.arm("source.send_final.after:kill")
    second = echo.start(build="2")
    assert echo.exit_code(first) == -signal.SIGKILL
    client.say(b"two")
    assert echo.status()["pid"] == second


def test_whoever_asks_when_another_one_may_own_already_is_answered_by_the_owner(echo: Echo) -> None:
    first = echo.start()
    echo.arm("destination.send_owned.before:stop")
    second = echo.launch(build="2")
    wait_for_stop(second, within=PATIENCE)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(PATIENCE)
        asking.connect(os.fspath(echo.runtime / CONTROL_SOCKET))
        asking.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        kill(second, signal.SIGCONT)
        answer = b"".join(iter(partial(asking.recv, 65536), b""))
    assert b'"pid":%d' % second in answer
    assert echo.exit_code(first) == 0


@pytest.mark.all
def test_a_source_that_dies_while_copying_leaves_the_listeners(echo: Echo) -> None:
    first = echo.start()
    echo.client().say(b"one")
    echo.arm("source.freeze.before:kill")
    second = echo.start(build="2")
    assert echo.exit_code(first) == -signal.SIGKILL
    assert echo.history()[-1]["how"] == "crash"
    echo.client().say(b"one")
    assert echo.status()["pid"] == second


@pytest.mark.all
def test_a_destination_that_dies_as_owner_before_bye_gives_the_listeners_back(echo: Echo) -> None:
    first = echo.start()
    echo.client().say(b"one")
    echo.arm("destination.start.before:kill")
    assert echo.exit_code(echo.launch(build="2")) == -signal.SIGKILL
    echo.wait_served_by(first)
    echo.client().say(b"one")
    echo.faults.unlink()
    second = echo.start(build="2")
    assert echo.exit_code(first) == 0
    assert echo.status()["pid"] == second
