"""The end on purpose: announced, delayed, finished, bounded."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import msgspec
import pytest

from hotswap import errors
from tests.kit.client import Client
from tests.kit.http import Closed
from tests.kit.ports import loopback, refused
from tests.kit.processes import PATIENCE
from tests.kit.stage import Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually, ever_longer
from tests.system.test_config import probe


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


def test_without_an_admin_address_the_control_socket_answers_probes(stage: Stage, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams)
    with Client(f"unix:{edge.instance.runtime_dir}/edge/control.sock") as client:
        assert client.ask("/ready").status == 200
    with Client(f"unix:{edge.instance.runtime_dir}/edge/control.sock") as client:
        assert client.ask("/live").status == 200


@pytest.mark.parametrize("how", ["drain", "SIGTERM"])
def test_ready_fails_first_and_the_listeners_close_after_the_delay(
    stage: Stage, upstreams: Upstreams, how: str
) -> None:
    for delay in ever_longer(1.0):
        if drained(stage, upstreams, how, delay):
            return


def drained(stage: Stage, upstreams: Upstreams, how: str, delay: float) -> bool:
    """Whether it was seen serving in the delay."""
    admin, token = loopback(), f"drain-{how}-{delay:g}"
    edge = stage.edge(upstreams, admin=admin, drain_delay=f"{delay:g}s", drain_timeout="10m")
    owner = edge.instance.status().pid
    with Client(edge.web) as kept, Client(edge.web) as busy:
        assert kept.ask("/bytes?n=1").status == 200
        busy.get(f"/hold?token={token}")
        upstreams.held(token)
        began = time.monotonic()
        if how == "drain":
            assert edge.instance.hotswap("drain", "edge", "--no-wait").returncode == 0
        else:
            edge.instance.kill(owner, signal.SIGTERM)
        eventually(lambda: probe(admin, "/ready") == 503, within=PATIENCE, what="it is announced")
        seen = True
        try:
            with Client(edge.web) as late:
                answers = [late.ask("/bytes?n=1"), kept.ask("/bytes?n=1")]
            assert [(one.status, one.fields["connection"]) for one in answers] == [(200, "close")] * 2
        except (ConnectionError, Closed):
            assert time.monotonic() - began > 0.9 * delay, "who has not noticed yet is served"
            seen = False
        eventually(lambda: refused(edge.web), within=PATIENCE + delay, what="the listeners close")
        assert edge.instance.upgrade().exit_code == errors.Refused.exit_code
        assert edge.instance.hotswap("reload", "edge").returncode == errors.Refused.exit_code
        upstreams.release(token)
        assert busy.response().status == 200
    assert stage.offspring.status(owner, within=PATIENCE) == 0
    return seen


def test_the_command_follows_it_to_the_end(stage: Stage, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams)
    with Client(edge.web) as idle:
        assert idle.ask("/bytes?n=1").status == 200
        done = edge.instance.hotswap("drain", "edge", "--json", "--delay", "300ms")
    assert done.returncode == 0, done.stderr
    events = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert events[0]["listeners"] == "open"
    assert events[0]["connections"] >= events[-2]["connections"]
    assert (events[-1]["event"], events[-1]["ok"], events[-1]["cut"]) == ("result", True, 0)
    assert edge.instance.hotswap("status", "edge").returncode == errors.NotRunning.exit_code


def test_what_the_deadline_cuts_off_is_told(stage: Stage, upstreams: Upstreams) -> None:
    edge = stage.edge(upstreams)
    with Client(edge.web) as busy:
        busy.get("/hold?token=deadline")
        upstreams.held("deadline")
        done = edge.instance.hotswap("drain", "edge", "--deadline", "500ms")
        assert done.returncode == errors.DeadlinePassed.exit_code
        assert "connections were ended at the deadline" in done.stderr
        assert busy.ended()
    upstreams.release("deadline")
