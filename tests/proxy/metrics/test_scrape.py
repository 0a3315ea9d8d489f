"""`GET /metrics` of one generation, whoever owns: it answers, passes on, or waits; it never guesses."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from hotswap.errors import HotswapError
from hotswap.http import HttpError, Request, Response
from proxy.metrics import scrape
from shm_metrics import Collected, Registry
from shm_metrics.exposition import CONTENT_TYPES
from shm_metrics.plain import parsed
from tests.proxy.relays import TWO, relay
from tests.proxy.simulation import World

CONTROL = Path("/run/hotswap/edge/control.sock")
LOOKS = 5
"""How often a generation looks before `Ruled.looked`."""
PASSED_ON = Response(200, b"of the successor", "text/plain")


class Ruled(Registry):
    """Says whether it rules as the test wants; `meanwhile` happens while it collects."""

    def __init__(self) -> None:
        super().__init__()
        self.ruling = True
        self.looks = 0
        self.looked = asyncio.Event()

    def meanwhile(self) -> None:
        pass

    @property
    def reigns(self) -> bool:
        self.looks += 1
        if self.looks == LOOKS:
            self.looked.set()
        return self.ruling

    def collecting(self) -> Generator[None, None, list[Collected]]:
        self.meanwhile()
        return (yield from super().collecting())


class Generation:
    """A serving generation with a real server in a simulated world."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(TWO)
        self.metrics = Ruled()
        self.world.proxy.metrics = self.metrics
        self.metrics.counter("hotswap_requests_total", "Requests.").inc(7)
        runtime = SimpleNamespace(control_path=CONTROL)
        self.serving = SimpleNamespace(server=self.world.proxy, gave_away=False, runtime=runtime)
        self.asked: list[tuple[Path, str, dict[str, str]]] = []
        self.deaths: list[Callable[[], None]] = []
        """For each question that the successor does not answer: what happens then."""
        monkeypatch.setattr(scrape, "ask_successor", self._successor)
        self.route = scrape.metrics_route(cast("Any", self.serving))

    async def _successor(self, control: Path, path: str, headers: dict[str, str]) -> Response:
        self.asked.append((control, path, headers))
        if self.deaths:
            self.deaths.pop(0)()
            raise HotswapError("it died")
        return PASSED_ON

    def give_away(self) -> None:
        self.metrics.ruling, self.serving.gave_away = False, True

    def take_back(self) -> None:
        self.metrics.ruling, self.serving.gave_away = True, False

    async def ask(self, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.route(Request("GET", "/metrics", {}, named, None))
        assert isinstance(answer, Response)
        return answer

    def answer(self, **headers: str) -> Response:
        return asyncio.run(self.ask(**headers))


@pytest.fixture
def generation(monkeypatch: pytest.MonkeyPatch) -> Generation:
    return Generation(monkeypatch)


def counted(response: Response) -> float:
    [found] = [one for one in parse_text(response.body.decode()) if one.name == "hotswap_requests"]
    return float(found.samples[0].value)


def test_the_owner_answers(generation: Generation) -> None:
    response = generation.answer()
    assert (response.status, response.content_type) == (200, CONTENT_TYPES["text"])
    assert response.headers == {"Vary": "Accept, Accept-Encoding"}
    assert counted(response) == 7
    assert generation.asked == []


def test_in_the_form_that_is_asked_for(generation: Generation) -> None:
    response = generation.answer(accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert response.content_type == CONTENT_TYPES["openmetrics"]
    assert response.body.endswith(b"# EOF\n")
    response = generation.answer(accept="application/json", accept_encoding="gzip, br")
    assert (response.content_type, response.headers["Content-Encoding"]) == (CONTENT_TYPES["json"], "gzip")
    families = {shape.name: members for shape, members in parsed(gzip.decompress(response.body))}
    assert families["hotswap_requests_total"][0].cells == [7]


def test_gauges_are_of_this_moment(generation: Generation) -> None:
    families = generation.world.proxy.families
    relay(generation.world, "db")
    generation.answer()
    assert families.downstream_now.labels("db", "tcp", "plain").value == 1


def test_one_that_gave_everything_away_passes_on(generation: Generation) -> None:
    generation.give_away()
    assert generation.answer(accept="text/plain", accept_encoding="gzip", cookie="a=b") is PASSED_ON
    assert generation.asked == [(CONTROL, "/metrics", {"accept": "text/plain", "accept-encoding": "gzip"})]


def test_one_that_does_not_rule_and_still_answers_at_the_door_asks_nobody_before_it_knows_who_owns(
    generation: Generation,
) -> None:
    """Its own door would be the one that it knocks at."""
    generation.metrics.ruling = False

    async def ask() -> Response:
        answer = asyncio.ensure_future(generation.ask())
        await generation.metrics.looked.wait()
        assert generation.asked == []
        generation.give_away()
        return await answer

    assert asyncio.run(ask()) is PASSED_ON


def test_what_was_collected_while_another_one_began_to_rule_is_not_told(generation: Generation) -> None:
    generation.metrics.meanwhile = generation.give_away  # type: ignore[method-assign]
    assert generation.answer() is PASSED_ON


def test_it_answers_itself_when_the_successor_dies_and_everything_comes_back(generation: Generation) -> None:
    generation.give_away()
    generation.deaths = [lambda: None, generation.take_back]
    assert counted(generation.answer()) == 7
    assert len(generation.asked) == 2


def test_it_says_so_when_nobody_answers(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "PATIENCE", 0)
    generation.give_away()
    generation.deaths = [lambda: None]
    with pytest.raises(HotswapError, match="it died"):
        generation.answer()


def test_an_owner_that_cannot_rule_answers_all_the_same(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found no slot: what it counts is told, its gauges are missing."""
    monkeypatch.setattr(scrape, "PATIENCE", 0)
    generation.metrics.ruling = False
    assert counted(generation.answer()) == 7


def test_others_go_on_while_a_long_answer_is_made(generation: Generation) -> None:
    many = generation.metrics.counter("many_total", "", ("which",))
    for number in range(5000):
        many.labels(number).inc()

    async def turns() -> int:
        count = 0
        answer = asyncio.ensure_future(generation.ask())
        while not answer.done():
            count += 1
            await asyncio.sleep(0)
        return count

    assert asyncio.run(turns()) > 20


def test_a_server_of_another_kind_has_none(generation: Generation) -> None:
    generation.serving.server = object()
    with pytest.raises(HttpError, match="no metrics"):
        generation.answer()
