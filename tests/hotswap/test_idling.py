"""Idle processes, as they are started and ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hotswap import idle, spawn
from hotswap.control import EventStream, Request
from tests.hotswap.serving import Serving, unix_listener
from tests.kit.companion import ROOT
from tests.kit.waiting import eventually

PATIENCE = 20.0
BECOME = "from hotswap import idling; idling.become(None, None)"


@contextmanager
def idling(program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        eventually(lambda: comm.read_text().strip() == idle.NAME, within=PATIENCE, what="it idles")
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0(number: signal.Signals) -> None:
    with idling(BECOME) as process:
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_orders_to_a_server_are_none_to_it(number: signal.Signals) -> None:
    with idling(BECOME) as process:
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_without_an_interpreter_on_the_disk_it_stays_what_it_is() -> None:
    listening = "import socket; kept = socket.socket(); kept.bind(('127.0.0.1', 0)); kept.listen()"
    with idling(f"{listening}; import sys; sys.executable = '/nowhere/python'; {BECOME}") as process:
        eventually(
            lambda: not any("socket" in str(one.readlink()) for one in Path(f"/proc/{process.pid}/fd").iterdir()),
            within=PATIENCE,
            what="it holds no listener",
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert b"idle, in all its size" in process.stderr.read()


def test_a_signal_before_it_can_take_it_is_not_lost() -> None:
    blocked = "import os, signal; from hotswap import idling; signal.pthread_sigmask(signal.SIG_BLOCK, idling.SIGNALS)"
    program = f"{blocked}; os.kill(os.getpid(), signal.SIGTERM); idling.become(None, None)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=PATIENCE, check=False)
    assert done.returncode == 0


def test_a_signal_while_it_becomes_a_server_again_waits_for_that_one(tmp_path: Path) -> None:
    async def summon(_request: Request) -> EventStream:
        stream = EventStream()
        stream.send({"event": "take_over", "token": "t"})
        stream.end()
        return stream

    control = tmp_path / "control.sock"
    program = "import os, signal; print(os.environ['HOTSWAP_TOKEN'], signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    told = {
        "control": str(control),
        "facts": {},
        "bereft": False,
        "cwd": "/",
        "command": [sys.executable, "-c", program],
    }
    with Serving(unix_listener(control), {("POST", "/standby"): summon}):
        done = subprocess.run(
            [sys.executable, idle.__file__, json.dumps(told)],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
            text=True,
        )
    assert done.stdout.split(" ", 1)[0] == "t"
    assert {name for name in ("SIGTERM", "SIGINT", "SIGHUP") if name in done.stdout} == {"SIGTERM", "SIGINT"}


def test_the_program_lets_signals_in_again_that_waited() -> None:
    program = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); import hotswap.cli.main; signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == -signal.SIGTERM


def test_who_was_not_the_fastest_after_a_death_tries_again_if_the_fastest_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "LONGEST", 0.1)
    standing = idle.Standing(str(tmp_path / "nobody"), {}, bereft=True)
    standing.wait()
    assert standing.token == ""


def test_its_names_are_those_of_the_package() -> None:
    """It runs alone, so it has them twice."""
    assert idle.TOKEN_VARIABLE == spawn.TOKEN_VARIABLE
