"""Scrapes in upgrades: every one is answered, by one generation, and no figure goes back."""

from __future__ import annotations

import gzip
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from shm_metrics.plain import parsed
from tests.kit.client import Client
from tests.kit.offspring import run_state
from tests.kit.ports import loopback
from tests.kit.processes import PATIENCE, Instance, finish_upgrade, hotswap
from tests.kit.programs import program
from tests.kit.stage import BREEZE, Edge, Stage
from tests.kit.waiting import eventually
from tests.system.test_config import probe

SECONDS = 0.02
"""Between two scrapes of one scraper."""
UPGRADES = 10

TEXT, OPENMETRICS = "text/plain", "application/openmetrics-text; version=1.0.0"


class Scrape(NamedTuple):
    """One answer."""

    status: int
    metrics: list[Metric]
    text: str

    def value(self, name: str) -> float:
        """Of a metric without labels, or the sum over them."""
        return sum(sample.value for metric in self.metrics for sample in metric.samples if sample.name == name)


def scrape(address: str | Path, accept: str = TEXT) -> Scrape:
    """Ask once, over a fresh connection. Raises OSError, and ValueError for what no parser can read."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        host, _, port = str(address).rpartition(":")
        sock.connect(str(address) if isinstance(address, Path) else (host, int(port)))
        lines = ["GET /metrics HTTP/1.1", "Host: edge", f"Accept: {accept}", "Accept-Encoding: gzip", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise ValueError(f"no answer: {answer!r}")
    text = (gzip.decompress(body) if b"Content-Encoding: gzip" in head else body).decode()
    status = int(head.split(b" ")[1])
    if status != 200:
        return Scrape(status, [], text)
    if accept == TEXT:
        return Scrape(status, [*parse_text(text)], text)
    return Scrape(status, [*openmetrics.text_string_to_metric_families(text)], text)  # type: ignore[no-untyped-call]


class Scraper:
    """Scrapes in a thread, again and again, until the end of its with block. What it saw stays with it."""

    def __init__(self, address: str | Path) -> None:
        self.scrapes: list[Scrape] = []
        self.failures: list[str] = []
        self._address = address
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._enough.wait(SECONDS):
            try:
                seen = scrape(self._address, (TEXT, OPENMETRICS)[len(self.scrapes) % 2])
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))
            else:
                self.scrapes.append(seen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        self._thread.join(PATIENCE)

    def seen(self, name: str) -> list[float]:
        """A value in all scrapes."""
        return [scrape.value(name) for scrape in self.scrapes]

    def check(self) -> None:
        """Every scrape went well, and nothing went back."""
        assert self.failures == []
        assert {(one.status, one.text if one.status != 200 else "") for one in self.scrapes} == {(200, "")}
        for name in ("hotswap_generation", "hotswap_requests_total", "hotswap_downstream_accepted_total"):
            assert self.seen(name) == sorted(self.seen(name)), name


@pytest.fixture
def edge(stage: Stage) -> Edge:
    return stage.edge(admin=loopback())


def addresses(instance: Instance) -> list[str | Path]:
    return [str(instance.config["admin"]), instance.runtime_dir / instance.name / "control.sock"]


def reached(scrapers: list[Scraper], generation: int) -> bool:
    """All have an answer of that generation, or of a later one."""
    return all(one.scrapes and one.scrapes[-1].value("hotswap_generation") >= generation for one in scrapers)


@pytest.mark.parametrize("upgrades", [2, pytest.param(UPGRADES, marks=pytest.mark.all)])
def test_no_scrape_fails_and_no_figure_goes_back_while_generations_change(edge: Edge, upgrades: int) -> None:
    load = edge.load(BREEZE)
    with ExitStack() as running:
        scrapers = [running.enter_context(Scraper(address)) for address in addresses(edge.instance)]
        for number in range(upgrades):
            done = edge.instance.upgrade()
            assert done.exit_code == 0, done.text
            eventually(
                partial(reached, scrapers, number + 2), within=PATIENCE, what=f"scrapes of generation {number + 2}"
            )
    assert load.finish().failures == []
    for scraper in scrapers:
        scraper.check()
        assert {*scraper.seen("hotswap_generation")} == {*range(1, upgrades + 2)}
        # Gauges are those of the owner at every moment: the load never has fewer connections than it began with.
        assert min(scraper.seen("hotswap_downstream_connections_active")) > 0
        print(f"{upgrades} upgrades, {len(scraper.scrapes)} scrapes")


@pytest.mark.parametrize(
    "point",
    [
        "source.send_final.before",
        "destination.take_byte.before",
        "destination.send_owned.before",
        "destination.start.before",
        "destination.start.after",
    ],
)
def test_no_scrape_fails_when_a_handover_does(edge: Edge, point: str) -> None:
    instance = edge.instance
    failure = "raise" if point.startswith("source") else "kill"
    with ExitStack() as running:
        scrapers = [running.enter_context(Scraper(address)) for address in addresses(instance)]
        instance.arm(f"{point}:{failure}")
        assert instance.upgrade().exit_code != 0
        instance.disarm()
        assert instance.upgrade().exit_code == 0
        eventually(partial(reached, scrapers, 2), within=PATIENCE, what="scrapes after that")
    for scraper in scrapers:
        assert scraper.failures == []
        assert {one.status for one in scraper.scrapes} == {200}


class Early:
    """A connection that the present owner has accepted, and no question on it so far."""

    def __init__(self, instance: Instance) -> None:
        self._client = Client(str(instance.config["admin"]))
        assert probe(str(instance.config["admin"]), "/live") == 200  # accepted later, and so was this one by now

    def ask(self) -> None:
        self._client.get("/metrics", "Accept: application/json")

    def answer(self) -> tuple[int, float]:
        """The status, and the generation in the answer."""
        response = self._client.response()
        self._client.close()
        families = {one.shape.name: one.members for one in parsed(response.body)}
        return response.status, families["hotswap_generation"][0].cells[0]


def test_a_question_to_a_retired_generation_is_answered_by_the_owner(edge: Edge) -> None:
    instance, early = edge.instance, Early(edge.instance)
    with Client(edge.raw) as kept:
        assert instance.status().connections
        instance.config["listeners"] = [one for one in instance.config["listeners"] if one["name"] != "raw"]
        instance.write_config()
        assert instance.upgrade().exit_code == 0
        assert len(instance.generations()) == 2
        early.ask()
        assert early.answer() == (200, 2)
        kept.end_sending()
    eventually(lambda: len(instance.generations()) == 1, within=PATIENCE, what="the source ends")


@pytest.mark.parametrize(("then", "generation"), [(signal.SIGCONT, 2), (signal.SIGKILL, 1)])
def test_a_question_between_two_owners_waits_for_one(edge: Edge, then: signal.Signals, generation: int) -> None:
    """The destination has said OWNED and is stopped: nobody answers. It goes on, or it dies and the source is back."""
    instance, early, source = edge.instance, Early(edge.instance), edge.instance.status().pid
    instance.arm("destination.start.before:stop")
    upgrade = instance.start_upgrade()
    [destination] = eventually(
        lambda: [pid for pid in instance.generations() if pid != source and run_state(pid) in "Tt"],
        within=PATIENCE,
        what="the destination is stopped",
    )
    with Scraper(str(instance.config["admin"])) as scraper:
        early.ask()
        instance.kill(destination, then)
        assert early.answer() == (200, generation)
        eventually(lambda: scraper.scrapes, within=PATIENCE, what="a scrape after that")
    assert scraper.failures == []
    assert {*scraper.seen("hotswap_generation")} == {generation}
    assert (finish_upgrade(upgrade).exit_code == 0) is (then == signal.SIGCONT)


# ---- the command ----


@pytest.mark.all
def test_promtool_has_nothing_to_say_about_what_the_command_prints(edge: Edge) -> None:
    promtool, instance = program("promtool"), edge.instance
    load = edge.load(BREEZE)
    assert instance.upgrade().exit_code == 0
    assert load.finish().failures == []
    for pattern in ("", "requests", "duration_seconds.*web"):
        printed = instance.hotswap("metrics", "edge", "--filter", pattern)
        assert (printed.returncode, printed.stderr) == (0, "")
        assert [*parse_text(printed.stdout)]
        done = subprocess.run(
            [promtool, "check", "metrics"], input=printed.stdout, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), pattern


def test_watching_goes_on_through_an_upgrade(edge: Edge) -> None:
    instance = edge.instance
    watching = [*hotswap(), "metrics", "edge", "--watch", "50ms", "--json", "--filter", "^hotswap_generation{"]
    watching += ["--runtime-dir", str(instance.runtime_dir)]
    with subprocess.Popen(watching, env=instance.environment, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        try:
            assert generation(command.stdout.readline()) == 1
            assert instance.upgrade().exit_code == 0
            seen = 1
            while seen == 1:
                seen = generation(command.stdout.readline())
            assert seen == 2
            command.send_signal(signal.SIGINT)
            assert command.wait(PATIENCE) == 0
        finally:
            command.kill()


def generation(line: str) -> int:
    """The one that answered."""
    [family] = parsed(line.encode())
    return int(family.members[0].cells[0])
