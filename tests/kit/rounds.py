"""Scenarios of a pod whose containers take over from each other, for whatever makes the containers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.kit.load import Plan, Report
from tests.kit.pod import Container, Pod
from tests.kit.ports import port_of
from tests.kit.processes import PATIENCE, Config
from tests.kit.scraper import Scraper
from tests.kit.stage import Edge
from tests.kit.waiting import eventually

BYE_SENT = "source.send_bye.after"
REMOVED = 137  # the exit code of a container that SIGKILL ended


class Takeover(NamedTuple):
    """How long one took."""

    seconds: float
    """From the start of the container until the owner lives in it."""

    downtime: float
    """Milliseconds in which nobody ticked."""


class InPod(Scraper):
    """A scraper in the network of a pod."""

    def __init__(self, pod: Pod, address: str, interval: float = 0.1) -> None:
        super().__init__(address, interval)
        self._pod = pod

    def once(self) -> None:
        """See `Scraper.once`."""
        self._pod.inside(super().once)


def never_close(config: Config) -> None:
    """No limit of a pool or of idle connections is reached: an end is a failure, whatever its reason."""
    for cluster in config["clusters"]:
        if cluster["name"] == "app":
            cluster |= {"max_idle": 1000, "keepalive_timeout": "2h"}
    for listener in config["listeners"]:
        if listener["protocol"] == "http1":
            listener["keepalive_timeout"] = "2h"


def take_over(pod: Pod, name: str, *options: str) -> tuple[Container, Takeover]:
    """The next generation, in a container of this name, once it serves."""
    began = time.monotonic()
    container = pod.run(name, *(options or ["--takeover=require"]))
    pod.wait_served_by(container)
    return container, Takeover(time.monotonic() - began, told_downtime(pod))


def told_downtime(pod: Pod) -> float:
    """Milliseconds of the takeover by which the owner came to own. It hears of them with the BYE, serving already."""

    def told() -> float:
        downtime: float = (pod.status().get("last_upgrade") or {}).get("downtime_ms", 0.0)
        return downtime

    return eventually(told, within=PATIENCE, what="the owner knows how long nobody ticked")


@contextmanager
def nothing_ends(pod: Pod, edge: Edge, *, but_fresh: bool) -> Iterator[None]:
    """No FIN and no RST goes over the service ports inside.

    `but_fresh`: clients end connections, some by a reset, as TLS tickets came that they never read; nobody else does.
    """
    capture = pod.capture(edge.ports)
    capture.begin()
    yield
    listeners = [port_of(address) for address in (edge.web, edge.raw, edge.rpc) if address]
    seen = capture.end()
    if but_fresh:
        seen = [one for one in seen if one.flags == "RST" and one.target not in listeners]
    assert seen == [], f"{len(seen)} connections ended: {', '.join(map(str, seen[:10]))}"


def take_turns(pod: Pod, edge: Edge, plan: Plan, takeovers: int) -> tuple[Report, list[Takeover]]:
    """Two containers in turns, the old one removed by SIGKILL right after its BYE: nobody notices.

    Generation 1 serves in A, 2 in B, 3 in a new A ... under this load, with `admin` in the configuration. All that says
    which is newer is the revision that an orchestrator gives it.
    """
    instance = edge.instance
    never_close(instance.config)
    instance.write_config()
    old = pod.run("a", "--revision=1")
    pod.wait_served_by(old)
    instance.arm(f"{BYE_SENT}:hang")
    took: list[Takeover] = []
    with InPod(pod, str(instance.config["admin"])) as scraper:
        load = edge.load(plan)
        with nothing_ends(pod, edge, but_fresh=bool(plan.fresh)):
            for number in range(takeovers):
                began = time.monotonic()
                new = pod.run("ba"[number % 2], f"--revision={number + 2}")
                old.wait_said(BYE_SENT)
                assert old.kill() == REMOVED
                status = pod.wait_served_by(new)
                assert status["pid"] == 1
                took.append(Takeover(time.monotonic() - began, told_downtime(pod)))
                assert load.turn().failures == []
                assert edge.upstreams.record().busy_ends == []
                old = new
        instance.disarm()
        report = load.finish()
        scraper.wait(1)
    scraper.once()
    assert not scraper.problems, scraper.problems
    assert not report.failures, report.failures
    assert all(report.exchanges.values())
    seen = edge.upstreams.record()
    assert seen.wrong == []
    assert seen.busy_ends == []
    sent = sum(count for path, count in seen.requests.items() if path.startswith("/"))
    assert scraper.total("hotswap_requests_total", listener="web") == sent
    assert scraper.total("hotswap_requests_total", listener="rpc") == report.calls["call"]
    assert scraper.total("hotswap_upgrades_total", how="takeover", outcome="owned") == takeovers
    accepted = sum(report.connected.values())
    assert scraper.total("hotswap_downstream_accepted_total") == accepted
    assert pod.status()["generation"] == 1 + takeovers
    old.terminate()
    assert old.status(within=PATIENCE) == 0, old.log_tail()
    return report, took
