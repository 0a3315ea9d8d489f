"""Counters that never blink: through upgrades, crashes and kills, to the unit."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shm_metrics import names
from tests.kit.client import Client
from tests.kit.http import Closed
from tests.kit.ports import loopback
from tests.kit.scraper import Scraper, ask, read, total
from tests.kit.segments import segments
from tests.kit.stage import Edge, Stage
from tests.kit.waiting import eventually

FEW, MANY = 3, 100
CONNECTIONS = 8
REQUEST = b"GET /bytes?n=10 HTTP/1.1\r\nHost: a\r\n\r\n"


def monitored(stage: Stage, **changes: Any) -> tuple[Edge, str]:
    """An edge that serves, and its admin address."""
    admin = loopback()
    edge = stage.edge(admin=admin, **changes)
    return edge, admin


class Askers:
    """Clients that know to the unit what they sent and what came back. They reconnect, and count that, too."""

    def __init__(self, address: str, connections: int = CONNECTIONS) -> None:
        self.address = address
        self.sent = [0] * connections
        self.got = [0] * connections
        self.lost = [0] * connections
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(connections)]

    def _run(self, number: int) -> None:
        while not self._over.is_set():
            try:
                with Client(self.address) as client:
                    self._converse(client, number)
            except (OSError, Closed):
                self.lost[number] += 1
                self._over.wait(0.01)

    def _converse(self, client: Client, number: int) -> None:
        while not self._over.is_set():
            self.sent[number] += 1
            client.send(REQUEST)
            assert client.response().status == 200
            self.got[number] += 1

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("upgrades", [FEW, pytest.param(MANY, marks=pytest.mark.all)])
def test_upgrades_lose_and_double_nothing(stage: Stage, upgrades: int) -> None:
    edge, admin = monitored(stage)
    scraper, askers = Scraper(admin), Askers(edge.web)

    def not_ahead(growing: dict[str, float]) -> str:
        counted, sent = total(growing, "hotswap_requests_total"), sum(askers.sent)
        return f"{counted} requests are counted, and {sent} were sent" if counted > sent else ""

    scraper.checks.append(not_ahead)
    with scraper, askers.asking():
        for _ in range(upgrades):
            done = edge.instance.upgrade("--require-all")
            assert done.exit_code == 0, done.text
        scraper.wait(2)
    assert sum(askers.lost) == 0
    assert sum(askers.sent) == sum(askers.got)
    scraper.once()
    assert scraper.problems == []
    exchanges = sum(askers.got)
    assert scraper.total("hotswap_requests_total") == exchanges
    assert scraper.total("hotswap_requests_total", code="2xx", listener="web") == exchanges
    assert scraper.total("hotswap_upstream_requests_total", code="2xx") == exchanges
    assert scraper.total("hotswap_request_duration_seconds_count") == exchanges
    assert scraper.total("hotswap_upstream_request_duration_seconds_count") == exchanges
    assert scraper.total("hotswap_downstream_received_bytes_total", listener="web") == exchanges * len(REQUEST)
    assert scraper.total("hotswap_downstream_connections_total", listener="web") == CONNECTIONS
    assert scraper.total("hotswap_upgrades_total", how="upgrade", outcome="owned") == upgrades
    assert scraper.total("hotswap_handover_downtime_seconds_count") == upgrades
    assert total(scraper.other, "hotswap_generation") == 1 + upgrades
    assert total(scraper.other, "hotswap_generations") == 1
    print(f"{upgrades} upgrades, {exchanges} requests, {scraper.scrapes} scrapes")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.all)])
def test_kills_at_random_points_lose_nothing_that_was_counted(stage: Stage, kills: int) -> None:
    """Either generation, before, in and after an upgrade. Answers that clients saw are counted, others may be."""
    chance = random.Random(5)
    edge, admin = monitored(stage)
    scraper, askers = Scraper(admin, forgiving=True), Askers(edge.web)
    with scraper, askers.asking():
        for _ in range(kills):
            upgrade = edge.instance.start_upgrade()
            threading.Event().wait(chance.uniform(0.0, 1.2))  # a random point of it: what this test is about
            generations = edge.instance.generations()
            if generations:
                edge.instance.kill(chance.choice(generations))
            upgrade.communicate(timeout=60)
            if edge.instance.try_status() is None:
                eventually(lambda: not edge.instance.generations(), within=20, what="all generations ended")
                edge.instance.start()
            scraper.wait(2)
    scraper.once()
    assert scraper.problems == []
    got, sent = sum(askers.got), sum(askers.sent)
    counted = scraper.total("hotswap_requests_total")
    answered = scraper.total("hotswap_requests_total", code="2xx")
    assert got <= answered <= counted <= sent
    print(f"{kills} kills: {sent} sent, {got} came back, {counted:.0f} counted; {scraper.scrapes} scrapes")


def test_a_crash_goes_on_counting_and_an_orderly_end_tidies_up(stage: Stage) -> None:
    edge, admin = monitored(stage)
    with Client(edge.web) as client:
        assert client.ask("/bytes?n=10").status == 200
    before = total(read(ask(admin))[0], "hotswap_requests_total")
    assert before == 1
    edge.instance.kill(edge.instance.status().pid)
    pid = edge.instance.start()
    growing, other = read(ask(admin))
    assert total(growing, "hotswap_requests_total") == before
    assert total(other, "hotswap_downstream_connections_active") == 0
    assert len(segments(edge.instance.name, edge.instance.runtime_dir)) == 1
    edge.instance.hotswap("drain", edge.instance.name, "--deadline", "1s")
    stage.offspring.status(pid, within=20)
    assert segments(edge.instance.name, edge.instance.runtime_dir) == []


@pytest.mark.parametrize("damage", ["corrupt", "truncated", "foreign", "newer"])
def test_a_segment_that_cannot_be_used_is_left_and_a_fresh_one_made_beside_it(stage: Stage, damage: str) -> None:
    edge, admin = monitored(stage)
    ask(admin)
    edge.instance.kill(edge.instance.status().pid)
    (mine,) = segments(edge.instance.name, edge.instance.runtime_dir)
    file = names.FOLDER / mine
    whole = file.read_bytes()
    spoiled = {
        "corrupt": whole[:20] + b"\xff" + whole[21:],
        "truncated": whole[:5000],
        "foreign": b"somebody else's" + whole[15:],
        "newer": whole[:8] + b"\x63\0\0\0" + whole[12:],
    }[damage]
    file.write_bytes(spoiled)
    edge.instance.start()
    log = edge.instance.log_tail()
    assert "a segment of metrics is not used" in log
    assert mine in log
    assert file.read_bytes() == spoiled
    assert total(read(ask(admin))[0], "hotswap_requests_total") == 0
    assert edge.instance.upgrade("--require-all").exit_code == 0
