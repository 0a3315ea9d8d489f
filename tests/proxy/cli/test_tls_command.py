"""`hotswap tls` against a control socket that says what a test wants. Keys and the environment: test_tls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotswap.control import Request, Response, Route
from hotswap.errors import DeadlinePassed, Refused
from proxy.cli.tls import INTERVAL, done, summary
from tests.hotswap.cli.server import FakeServer, Json
from tests.proxy.cli.looks import Looks

ENDPOINT: Json = {
    "address": "10.0.0.1:80",
    "wanted": "tls",
    "announces": "plaintext",
    "plaintext": 0,
    "tls": 4,
    "succeeding": 0,
}
APP: Json = {
    "name": "app",
    "wanted": "on",
    "by": "configuration",
    "strict": False,
    "percent": 100,
    "share": 100,
    "settled": True,
    "endpoints": [ENDPOINT],
    "retiring": 0,
    "retiring_in_flight": 0,
    "relayed": {"plaintext": 0, "tls": 0},
}
TROUBLED: Json = {**ENDPOINT, "failures": 2, "reason": "it took too long", "retry_in": 4.0}
DONE = "app: on, 0 plaintext, 4 TLS, 0 retiring: done"


def entry(**changes: Any) -> Json:
    return {**APP, **changes}


class Encrypting(FakeServer):
    """It shows `clusters` under /tls, and takes orders."""

    def __init__(self, runtime_dir: Path) -> None:
        self.clusters: list[Json] = [APP]
        super().__init__(runtime_dir)

    def _routes(self) -> dict[tuple[str, str], Route]:
        show = self._answer(lambda: {"clusters": self.clusters})
        return {**super()._routes(), ("GET", "/tls"): show, ("POST", "/tls"): self._obey}

    async def _obey(self, request: Request) -> Response:
        order = request.json(dict[str, Any])
        self.orders.append(order)
        if self.failure is not None:
            raise self.failure
        return Response.json(next(one for one in self.clusters if one["name"] == order["cluster"]))

    def change(self, **changes: Any) -> None:
        self.clusters = [entry(**changes)]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Encrypting]:
    with Encrypting(tmp_path / "run") as server:
        yield server


# ---- words ----


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (APP, DONE),
        (entry(settled=False), "app: on, 0 plaintext, 4 TLS, 0 retiring"),
        (entry(retiring=1), "app: on, 0 plaintext, 4 TLS, 1 retiring with 0 requests in flight"),
        (
            entry(retiring=2, retiring_in_flight=1),
            "app: on, 0 plaintext, 4 TLS, 2 retiring with 1 request in flight",
        ),
        (entry(share=10, percent=10), "app: on for 10 %, 0 plaintext, 4 TLS, 0 retiring: done"),
        (
            entry(wanted="follow", share=10, percent=50, settled=False),
            "app: follow for 10 % on the way to 50 %, 0 plaintext, 4 TLS, 0 retiring",
        ),
        (entry(wanted="off", share=10, percent=10), "app: off, 0 plaintext, 4 TLS, 0 retiring: done"),
        (
            entry(endpoints=[{**ENDPOINT, "plaintext": 3}, {**ENDPOINT, "plaintext": 2, "tls": 1}], settled=False),
            "app: on, 5 plaintext, 5 TLS, 0 retiring",
        ),
        (
            entry(endpoints=[ENDPOINT, {**TROUBLED, "address": "10.0.0.2:80"}, TROUBLED], settled=False),
            "app: on, 0 plaintext, 12 TLS, 0 retiring; 10.0.0.2:80: it took too long",
        ),
        (entry(endpoints=[]), "app: on, 0 plaintext, 0 TLS, 0 retiring: done"),
    ],
)
def test_how_far_a_cluster_is_in_a_line(one: Json, text: str) -> None:
    assert summary(one) == text


def test_done_is_settled_and_nothing_left_of_what_was_replaced() -> None:
    assert done(APP)
    assert not done(entry(settled=False))
    assert not done(entry(retiring=1))


def test_what_an_endpoint_says_does_not_drive_the_terminal() -> None:
    assert "\x1b" not in summary(entry(endpoints=[{**TROUBLED, "reason": "\x1b[2J"}]))


# ---- orders ----


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["on", "--cluster", "app"], {"cluster": "app", "wanted": "on", "percent": 100, "ramp": 0.0}),
        (
            ["follow", "--cluster", "app", "--percent", "0", "--ramp", "2m"],
            {"cluster": "app", "wanted": "follow", "percent": 0, "ramp": 120.0},
        ),
        (["off", "--cluster", "app"], {"cluster": "app", "wanted": "off", "percent": 100, "ramp": 0.0}),
        (["configured", "--cluster", "app"], {"cluster": "app", "wanted": "configured", "percent": 100, "ramp": 0.0}),
        (
            ["--cluster", "app", "--endpoint", "10.0.0.1:80", "--announce", "configured"],
            {"cluster": "app", "endpoint": "10.0.0.1:80", "announces": "configured"},
        ),
    ],
)
def test_order_is_sent_and_its_effect_shown(edge: Encrypting, arguments: list[str], order: Json) -> None:
    edge.clusters = [APP, entry(name="db")]
    told = edge.run("tls", "edge", *arguments)
    assert (told.exit_code, told.stdout) == (0, f"edge: {DONE}\n")
    assert edge.orders == [order]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["on"], "which cluster is meant? Write --cluster CLUSTER"),
        (["--percent", "5", "--cluster", "app"], "--percent and --ramp go with on or follow"),
        (["--ramp", "5m", "--cluster", "app"], "--percent and --ramp go with on or follow"),
        (["off", "--percent", "5", "--cluster", "app"], "--percent and --ramp do not go with off"),
        (["configured", "--ramp", "5m", "--cluster", "app"], "--percent and --ramp do not go with configured"),
        (["--endpoint", "10.0.0.1:80", "--cluster", "app"], "an endpoint announces by --endpoint ADDRESS --announce"),
        (["--announce", "tls", "--cluster", "app"], "an endpoint announces by --endpoint ADDRESS --announce"),
        (
            ["on", "--cluster", "app", "--endpoint", "10.0.0.1:80", "--announce", "tls"],
            "an endpoint announces by --endpoint ADDRESS --announce tls, and by nothing else",
        ),
        (["--endpoint", "10.0.0.1:80", "--announce", "tls"], "which cluster is meant?"),
        (["on", "--cluster", "app", "--percent", "101"], "101 is not in the range 0<=x<=100"),
        (["on", "--cluster", "app", "--ramp", "soon"], "'soon' is not a duration"),
        (["maybe", "--cluster", "app"], "'maybe' is not one of"),
        (["--cluster", "web"], "edge: no cluster 'web' knows TLS; give it tls, or see 'hotswap tls edge'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_ordered(edge: Encrypting, arguments: list[str], text: str) -> None:
    told = edge.run("tls", "edge", *arguments)
    assert told.exit_code == 2
    assert text in told.stderr
    assert edge.orders == []


def test_what_the_proxy_refuses_is_told(edge: Encrypting) -> None:
    edge.failure = Refused("cluster app has no tls")
    told = edge.run("tls", "edge", "on", "--cluster", "app")
    assert (told.exit_code, told.stdout) == (Refused.exit_code, "")
    assert "cluster app has no tls" in told.stderr


def test_nobody_there(edge: Encrypting) -> None:
    assert edge.run("tls", "other").exit_code == 4


# ---- looks ----


def test_table_has_a_row_an_endpoint_and_a_line_a_cluster(edge: Encrypting) -> None:
    db = entry(name="db", wanted="off", endpoints=[{**TROUBLED, "address": "10.0.0.9:33"}])
    edge.clusters = [entry(endpoints=[ENDPOINT, {**ENDPOINT, "address": "10.0.0.2:80", "plaintext": 11}]), db]
    told = edge.run("tls", "edge")
    assert told.exit_code == 0
    heading, *lines = told.stdout.splitlines()
    assert heading.split() == ["CLUSTER", "ENDPOINT", "WANTED", "ANNOUNCES", "PLAINTEXT", "TLS", "TROUBLE"]
    assert [line.split() for line in lines[:3]] == [
        ["app", "10.0.0.1:80", "tls", "plaintext", "0", "4"],
        ["app", "10.0.0.2:80", "tls", "plaintext", "11", "4"],
        ["db", "10.0.0.9:33", "tls", "plaintext", "0", "4", "it", "took", "too", "long;", "again", "in", "4", "s"],
    ]
    assert lines[3:] == [f"edge: {summary(one)}" for one in edge.clusters]
    assert edge.orders == []


def test_table_of_one_cluster(edge: Encrypting) -> None:
    edge.clusters = [APP, entry(name="db")]
    told = edge.run("tls", "edge", "--cluster", "db")
    assert "app" not in told.stdout
    assert told.stdout.count("db") == 2


def test_proxy_without_tls(edge: Encrypting) -> None:
    edge.clusters = []
    told = edge.run("tls", "edge")
    assert (told.exit_code, told.stdout) == (0, "edge: no cluster knows TLS\n")


@pytest.mark.parametrize("arguments", [[], ["on"]])
def test_json_is_what_the_proxy_says(edge: Encrypting, arguments: list[str]) -> None:
    edge.clusters = [APP, entry(name="db")]
    told = edge.run("tls", "edge", *arguments, "--json", "--cluster", "db")
    assert msgspec.json.decode(told.stdout) == {"clusters": [entry(name="db")]}


# ---- watching ----


def test_watch_ends_when_all_is_done(edge: Encrypting, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.change(settled=False)
    looks = Looks(monkeypatch, lambda: edge.change(retiring=1, retiring_in_flight=2), edge.change)
    told = edge.run("tls", "edge", "on", "--cluster", "app", "--watch", "--timeout", "1h")
    assert told.exit_code == 0
    assert len(edge.orders) == 1, "ordered once"
    assert told.stderr.splitlines() == [
        "edge: app: on, 0 plaintext, 4 TLS, 0 retiring",
        "edge: app: on, 0 plaintext, 4 TLS, 1 retiring with 2 requests in flight",
        f"edge: {DONE}",
    ]
    assert told.stdout == f"edge: {DONE}, in 500.0 ms\n"
    assert looks.seconds == [INTERVAL, INTERVAL]


def test_watch_waits_for_every_cluster(edge: Encrypting, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(**changes: Any) -> None:
        edge.clusters = [APP, entry(name="db", **changes)]

    both(retiring=1)
    looks = Looks(monkeypatch, both)
    told = edge.run("tls", "edge", "--watch")
    assert told.stdout.splitlines() == [f"edge: {DONE}, in 250.0 ms", f"edge: {DONE}, in 250.0 ms".replace("app", "db")]
    assert looks.steps == []


def test_watch_of_what_is_done_already_looks_once(edge: Encrypting, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    assert edge.run("tls", "edge", "--watch").exit_code == 0
    assert looks.seconds == []


def test_watch_in_json_is_a_line_a_look(edge: Encrypting, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.change(settled=False)
    Looks(monkeypatch, edge.change)
    told = edge.run("tls", "edge", "--watch", "--json")
    assert [msgspec.json.decode(line) for line in told.stdout.splitlines()] == [
        {"clusters": [entry(settled=False)]},
        {"clusters": [APP]},
    ]
    assert told.stderr == ""


def test_watch_that_takes_too_long_ends_and_the_change_goes_on(
    edge: Encrypting, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.change(settled=False)
    looks = Looks(monkeypatch, *[None] * 10)
    told = edge.run("tls", "edge", "--watch", "--timeout", "1s")
    assert told.exit_code == DeadlinePassed.exit_code == 15
    assert "edge: not done: app: on, 0 plaintext, 4 TLS, 0 retiring; it goes on" in told.stderr
    assert told.stdout == ""
    assert sum(looks.seconds) == 1.25


def test_done_at_the_last_moment_is_done(edge: Encrypting, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.change(settled=False)
    Looks(monkeypatch, None, None, None, None, edge.change)
    assert edge.run("tls", "edge", "--watch", "--timeout", "1s").exit_code == 0


def test_whoever_is_tired_of_watching_hears_that_it_goes_on(edge: Encrypting, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.change(settled=False)
    Looks(monkeypatch, None)  # and an interrupt in the second pause
    told = edge.run("tls", "edge", "--watch")
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr.endswith("hotswap: edge: no longer watched; it goes on\n")
